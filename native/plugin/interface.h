/* What an executor in a library of its own exports: one C symbol that returns a table of functions.
 * Plain C, so that neither side depends on the other's compiler. cuda/ implements it twice: for
 * NVIDIA GPUs, and for the emulator that runs the same kernels on a CPU. */
#ifndef SECATEUR_PLUGIN_INTERFACE_H
#define SECATEUR_PLUGIN_INTERFACE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes with the table below, or with the serialised form of programs. */
#define SECATEUR_PLUGIN_VERSION 1u
#define SECATEUR_PLUGIN_SYMBOL "secateur_plugin"

/* Why a function refused: one of ErrorCode in src/errors.ts, and a sentence. */
typedef struct {
  char code[32];
  char sentence[2016];
} SecateurFailure;

typedef struct SecateurLoaded SecateurLoaded;

/* Functions that take a SecateurFailure return 0, or 1 after filling it. A loaded program is used
 * from one thread at a time; different ones may be used at the same time. */
typedef struct {
  uint32_t version; /* SECATEUR_PLUGIN_VERSION; whatever follows depends on it */
  const char* kind; /* "cuda" or "emulator" */

  /* Writes one line about device `device`, cut to `room` bytes with the closing zero; fails where
   * there is no such device, or it cannot be used. */
  int (*describe)(int32_t device, char* text, uint64_t room, SecateurFailure* failure);

  int (*packed_bytes)(const int64_t* ints, uint64_t count, int64_t* bytes,
                      SecateurFailure* failure);

  /* `program` has the form of native/program/decode.h and has been verified. */
  int (*load)(int32_t device, const void* program, uint64_t bytes, SecateurLoaded** loaded,
              SecateurFailure* failure);
  void (*unload)(SecateurLoaded* loaded);

  /* Bytes of arenas, partial sums and scratch. */
  void (*sizes)(const SecateurLoaded* loaded, int64_t sizes[3]);

  /* Values by index, in the form of native/program/exchange.h. */
  int (*write)(SecateurLoaded* loaded, int32_t value, const void* from, uint64_t bytes,
               SecateurFailure* failure);
  int (*read)(const SecateurLoaded* loaded, int32_t value, void* to, uint64_t bytes,
              SecateurFailure* failure);

  /* Stops soon after cancelled(context) says 1. nanoseconds, one for each instruction of the
   * program, is added to unless null. */
  int (*run)(SecateurLoaded* loaded, int32_t entry, int (*cancelled)(const void* context),
             const void* context, int64_t* nanoseconds, SecateurFailure* failure);
} SecateurPlugin;

typedef const SecateurPlugin* (*SecateurPluginFunction)(void);

#ifdef __cplusplus
}
#endif

#endif
