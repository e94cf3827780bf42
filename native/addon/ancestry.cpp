#include "addon/ancestry.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace secateur {

namespace {

// The fourth field of /proc/<process>/stat. The second, the program's name in parentheses, may hold
// anything, so fields are counted from the last parenthesis.
long parent_of(long process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(file, text, '\0');
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos || name_end + 4 >= text.size()) return 0;
  return std::strtol(text.c_str() + name_end + 4, nullptr, 10);
}

}  // namespace

Napi::Value ancestry(const Napi::CallbackInfo& info) {
  const long parent = getppid();
  auto processes = Napi::Array::New(info.Env(), 2);
  processes.Set(0u, Napi::Number::New(info.Env(), static_cast<double>(parent)));
  processes.Set(1u, Napi::Number::New(info.Env(), static_cast<double>(parent_of(parent))));
  return processes;
}

}  // namespace secateur
