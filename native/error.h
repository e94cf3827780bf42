// What native code refuses. Never an abort, never a message on a stream: one coded error with a
// sentence, carried to JavaScript as a SecateurError.
#pragma once

#include <stdexcept>
#include <string>

namespace secateur {

class Error : public std::runtime_error {
 public:
  // `code` is one of ErrorCode in src/errors.ts.
  Error(const char* its_code, const std::string& sentence)
      : std::runtime_error(sentence), code(its_code) {}
  const char* const code;
};

}  // namespace secateur
