package bucket

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxKey is S3's limit of a key's length in bytes.
const maxKey = 1024

// checkKey refuses what one of the backends would not keep apart from another key, or
// what would leave a folder: empty elements, "." and "..", control characters.
func checkKey(key string) error {
	if len(key) == 0 || len(key) > maxKey {
		return fmt.Errorf("key %.80q: length %d not in [1, %d]", key, len(key), maxKey)
	}
	if err := checkText(key); err != nil {
		return err
	}
	for element := range strings.SplitSeq(key, "/") {
		switch element {
		case "", ".", "..":
			return fmt.Errorf("key %q: element %q", key, element)
		}
	}
	return nil
}

// checkPrefix accepts the beginnings of keys: the last element may be incomplete.
func checkPrefix(prefix string) error {
	folder, rest := splitPrefix(prefix)
	if folder != "" {
		if err := checkKey(strings.TrimSuffix(folder, "/")); err != nil {
			return fmt.Errorf("prefix: %w", err)
		}
	}
	return checkText(rest)
}

// checkFolder accepts what ListFolders takes: a prefix that is empty or ends in '/'.
func checkFolder(prefix string) error {
	if _, rest := splitPrefix(prefix); rest != "" {
		return fmt.Errorf("prefix %q: does not end in '/'", prefix)
	}
	return checkPrefix(prefix)
}

// splitPrefix cuts behind the last '/'.
func splitPrefix(prefix string) (folder, rest string) {
	i := strings.LastIndexByte(prefix, '/') + 1
	return prefix[:i], prefix[i:]
}

func checkText(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("key %q: not UTF-8", s)
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }); i >= 0 {
		return fmt.Errorf("key %q: %q at byte %d", s, s[i], i)
	}
	return nil
}
