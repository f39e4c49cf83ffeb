// A C++ program that can be profiled with gperftools: it burns CPU and allocates, and
// offers profiles of both over HTTP, in gperftools' own formats.
//
//   g++ -O2 -g -o example main.cc -ltcmalloc_and_profiler
//   TCMALLOC_SAMPLE_PARAMETER=65536 ./example 127.0.0.1 6063
#include <arpa/inet.h>
#include <elf.h>
#include <gperftools/malloc_extension.h>
#include <gperftools/profiler.h>
#include <link.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

// buildID gives the GNU build ID of a program or library, in hex, or nothing.
std::string buildID(const dl_phdr_info& info) {
  for (int i = 0; i < info.dlpi_phnum; i++) {
    const auto& segment = info.dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    auto at = reinterpret_cast<const char*>(info.dlpi_addr + segment.p_vaddr);
    for (const auto end = at + segment.p_memsz; at < end;) {
      const auto note = reinterpret_cast<const ElfW(Nhdr)*>(at);
      const auto name = at + sizeof *note, id = name + (note->n_namesz + 3) / 4 * 4;
      if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && !memcmp(name, "GNU", 4)) {
        std::string hex;
        for (size_t b = 0; b < note->n_descsz; b++) {
          char digits[3];
          snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(id[b]));
          hex += digits;
        }
        return hex;
      }
      at = id + (note->n_descsz + 3) / 4 * 4;
    }
  }
  return "";
}

// memoryMap says what is executable and where it lies: START-END r-xp FILE (@OFFSET) BUILD-ID.
// The maps that gperftools writes have no build IDs; this is the other form that pprof reads.
std::string memoryMap() {
  std::string map;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* map) {
        char file[4096] = "";
        const bool program = !*info->dlpi_name;
        if (program) file[std::max<ssize_t>(readlink("/proc/self/exe", file, sizeof file - 1), 0)] = 0;
        for (int i = 0; i < info->dlpi_phnum; i++) {
          const auto& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_X)) continue;
          const size_t page = 4095, start = info->dlpi_addr + segment.p_vaddr;
          char line[5000];
          snprintf(line, sizeof line, "%zx-%zx r-xp %s (@%zx) %s\n", start & ~page, (start + segment.p_memsz + page) & ~page,
                   program ? file : info->dlpi_name, segment.p_offset & ~page, buildID(*info).c_str());
          *static_cast<std::string*>(map) += line;
        }
        return 0;
      },
      &map);
  return map;
}

// cpuProfile samples for some seconds. What it gives is words of the machine, the last
// of them three that say the end, and the memory map.
std::string cpuProfile(int seconds) {
  static std::mutex one;  // gperftools has one sampler
  std::lock_guard<std::mutex> lock(one);
  char path[] = "/tmp/profile-XXXXXX";
  close(mkstemp(path));
  ProfilerStart(path);
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  ProfilerStop();
  std::ostringstream all;
  all << std::ifstream(path, std::ios::binary).rdbuf();
  unlink(path);
  std::string profile = all.str();
  const unsigned long end[] = {0, 1, 0};
  const auto text = profile.rfind(std::string(reinterpret_cast<const char*>(end), sizeof end));
  if (text != std::string::npos) profile.resize(text + sizeof end);
  return profile + memoryMap();
}

// heapProfile is what is allocated at this moment, by TCMALLOC_SAMPLE_PARAMETER.
std::string heapProfile() {
  std::string profile;
  MallocExtension::instance()->GetHeapSample(&profile);
  const std::string title = "MAPPED_LIBRARIES:\n";
  const auto text = profile.find(title);
  if (text != std::string::npos) profile.resize(text);
  return profile + title + memoryMap();
}

void answer(int connection) {
  char request[4096];
  const auto n = read(connection, request, sizeof request - 1);
  request[std::max<ssize_t>(n, 0)] = 0;
  std::string body, status = "200 OK";
  if (!strncmp(request, "GET /pprof/profile", 18)) {
    const char* seconds = strstr(request, "seconds=");
    body = cpuProfile(seconds ? atoi(seconds + 8) : 30);
  } else if (!strncmp(request, "GET /pprof/heap", 15)) {
    body = heapProfile();
  } else {
    status = "404 Not Found";
  }
  const std::string all = "HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  for (size_t sent = 0; sent < all.size();) {
    const auto n = send(connection, all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) break;
    sent += n;
  }
  close(connection);
}

}  // namespace

volatile double sink;

__attribute__((noinline)) void burn(std::chrono::milliseconds time) {
  double x = 0;
  for (const auto end = std::chrono::steady_clock::now() + time; std::chrono::steady_clock::now() < end;)
    for (int i = 0; i < 10000; i++) x += std::sqrt(i * x + 1);
  sink = x;
}

__attribute__((noinline)) std::vector<char> allocate() { return std::vector<char>(100 << 10, 1); }

int main(int argc, char** argv) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(argc > 2 ? atoi(argv[2]) : 6063);
  inet_pton(AF_INET, argc > 1 ? argv[1] : "127.0.0.1", &address.sin_addr);
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  socklen_t size = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) || listen(listener, 16)) {
    perror("listen");
    return 1;
  }
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  char host[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &address.sin_addr, host, sizeof host);
  printf("%s:%d\n", host, ntohs(address.sin_port));
  fflush(stdout);
  std::thread([] {
    for (std::vector<std::vector<char>> kept;;) {
      burn(std::chrono::milliseconds(5));
      kept.push_back(allocate());
      if (kept.size() > 1000) kept.erase(kept.begin());
      std::this_thread::sleep_for(std::chrono::milliseconds(45));
    }
  }).detach();
  for (;;) {
    const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection >= 0) std::thread(answer, connection).detach();
  }
}
