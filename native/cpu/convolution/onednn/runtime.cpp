#include "cpu/convolution/onednn/runtime.h"

#include <cstdlib>

#include "cpu_features.h"

// From the OpenMP runtime that oneDNN was linked with, if any; both act on the calling thread only.
extern "C" {
void omp_set_num_threads(int) __attribute__((weak));
int omp_get_max_threads() __attribute__((weak));
}

namespace secateur::onednn {

namespace {

bool can_stay_on_one_thread() {
  const unsigned runtime = dnnl::version()->cpu_runtime;
  if (runtime == DNNL_RUNTIME_OMP) {
    return omp_set_num_threads != nullptr && omp_get_max_threads != nullptr;
  }
  return runtime == DNNL_RUNTIME_SEQ;
}

// Must come before anything else asks oneDNN for its instruction set.
bool limit_instruction_set() {
  const CpuFeatures allowed = cpu_features();
  if (allowed.amx_bf16) return true;  // everything
  // Whether its bf16 kernels are used is decided for each convolution, by computed_type.
  const dnnl::cpu_isa limit = allowed.avx512_bf16 ? dnnl::cpu_isa::avx512_core_bf16
                              : allowed.avx512    ? dnnl::cpu_isa::avx512_core
                              : allowed.avx2      ? dnnl::cpu_isa::avx2
                                                  : dnnl::cpu_isa::sse41;
  const bool limited = dnnl::set_max_cpu_isa(limit) == dnnl::status::success;
  // Without a limit of ours, the hardware's own is enough.
  return limited || std::getenv("SECATEUR_ISA") == nullptr;
}

}  // namespace

bool available() {
  static const bool answer = limit_instruction_set() && can_stay_on_one_thread();
  return answer;
}

const dnnl::engine& engine() {
  // Leaked: kernels of sessions still open at exit may outlive any static object.
  static const dnnl::engine* const cpu = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *cpu;
}

OneThread::OneThread() : before_(0) {
  if (omp_set_num_threads == nullptr || omp_get_max_threads == nullptr) return;
  before_ = omp_get_max_threads();
  omp_set_num_threads(1);
}

OneThread::~OneThread() {
  if (before_ > 0) omp_set_num_threads(before_);
}

void stay_on_this_thread() {
  thread_local bool done = false;
  if (done) return;
  if (omp_set_num_threads != nullptr) omp_set_num_threads(1);
  done = true;
}

}  // namespace secateur::onednn
