#!/bin/bash
# Runs the tests of the kernel half and of the agent on an emulated arm64 machine, which lives in
# memory alone: Debian's kernel, C compilers, Node.js and Python, and the tests as they were compiled
# here. Needs qemu-system-arm, cpio and zstd, and 8 GB of memory; takes some twenty minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
into=$PWD/.bin/arm64
root=$into/root
mkdir -p "$into/apt/lists/partial" "$into/apt/cache/archives/partial" "$root"

# What this machine's Debian has for arm64, unpacked and not installed: this machine's own packages stay alone.
touch "$into/apt/status"
cat >"$into/apt.conf" <<EOF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Dir::State "$into/apt";
Dir::State::status "$into/apt/status";
Dir::Cache "$into/apt/cache";
EOF
if [ ! -e "$into/unpacked" ]; then
	export APT_CONFIG=$into/apt.conf
	apt-get update -q
	apt-get install -y -q --download-only linux-image-arm64 bash busybox coreutils dash findutils g++ gcc grep libc-bin libc6-dbg libc6-dev \
		libpython3-stdlib mount nodejs perl-base procps python3-minimal sed util-linux
	unset APT_CONFIG
	for package in "$into"/apt/cache/archives/*.deb; do
		case $package in
		*/linux-image-[0-9]*) dpkg -x "$package" "$into/kernel" ;;
		*/initramfs-tools* | */linux-base*) ;;
		*) dpkg -x "$package" "$root" ;;
		esac
	done
	rm -rf "$root"/usr/share/{doc,locale,man,icons}
	touch "$into/unpacked"
fi

work=$root/coldframe
rm -rf "$work"
mkdir -p "$work/agent" "$work/bpf" "$work/bin"
cp -r bpf/testdata "$work/bpf/"
export GOARCH=arm64 CGO_ENABLED=0
go test -c -o "$work/bpf.test" ./bpf
go test -c -o "$work/agent.test" ./agent
(cd bpf/testdata/gochain && go build -o "$work/gochain" .)

# The one program that tests build with Go was built above.
cat >"$work/bin/go" <<'EOF'
#!/bin/sh
cp /coldframe/gochain "$3" # go build -o PATH .
EOF
cat >"$root/init" <<'EOF'
#!/bin/bash
export PATH=/coldframe/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root COLDFRAME_TEST_BPF=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
ln -sf /proc/self/fd /dev/fd
uname -srm
cd /coldframe/bpf && /coldframe/bpf.test -test.v
# Left out are Node.js and Python: here they are still starting when their tests begin to count.
cd /coldframe/agent && /coldframe/agent.test -test.v -test.timeout 30m -test.run '^Test(OffCPU|OffCPUPython|Shares|KernelStack|Stall|FramePointersOnly|TablesGiveWay|Truth)$' \
	-test.skip 'TestTruth/build/node|TestTruth/node'
busybox poweroff -f
EOF
chmod +x "$work/bin/go" "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) | zstd -1 -q -f -o "$into/memory.zst"
kernel=$(echo "$into"/kernel/boot/vmlinuz-*)
timeout 45m qemu-system-aarch64 -M virt,gic-version=3 -cpu max,pauth-impdef=on -smp 2 -m 6G -accel tcg,thread=multi -nographic -no-reboot -nic none \
	-kernel "$kernel" -initrd "$into/memory.zst" -append "console=ttyAMA0 panic=1 quiet rdinit=/init" </dev/null | tee "$into/log"
if grep -qE '^ *--- FAIL|^panic|^FAIL' "$into/log" || [ "$(grep -c '^PASS' "$into/log")" != 2 ]; then
	echo "arm64: failed"
	exit 1
fi
