// The one thread pool: the only global state of the library.
#include "common.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <xmmintrin.h>
#endif

namespace sw {
namespace {

// Denormals cost hundreds of cycles on some processors; every thread flushes them alike, so results agree across threads.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

SW_INLINE void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr int kSpins = 4000;

struct Job {
  const std::function<void(int64_t)>* fn;
  int64_t chunks;
  std::atomic<int64_t> next{0};
};

class Pool {
 public:
  explicit Pool(int threads) : process_(getpid()) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }
  int size() const { return static_cast<int>(workers_.size()) + 1; }
  bool survives_fork() const { return process_ == getpid(); }
  void abandon() {  // after a fork the threads do not exist in the child; joining them would hang
    for (auto& worker : workers_) worker.detach();
    workers_.clear();
  }

  void run(Job& job) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take(job);
    {
      // Who has not woken up by now need not come: on a busy machine that may take longer than the job itself.
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = nullptr;
    }
    for (int i = 0; running_.load(std::memory_order_acquire) != 0; ++i)
      if (i < kSpins)
        relax();
      else
        std::this_thread::yield();
  }

  static void take(Job& job) {
    FlushDenormals flush;
    for (int64_t c; (c = job.next.fetch_add(1, std::memory_order_relaxed)) < job.chunks;) (*job.fn)(c);
  }

 private:
  void work();

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> running_{0};  // workers at the current job
  Job* job_ = nullptr;
  bool stop_ = false;
  pid_t process_;
};

thread_local bool inside_chunk = false;

void Pool::work() {
  uint64_t seen = 0;
  inside_chunk = true;
  for (;;) {
    // Kernels of one training step follow each other within microseconds: spin briefly before sleeping.
    for (int i = 0; i < kSpins && generation_.load(std::memory_order_acquire) == seen; ++i) relax();
    Job* job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
      seen = generation_.load(std::memory_order_relaxed);
      if (stop_) return;
      job = job_;
      if (job == nullptr) continue;
      running_.fetch_add(1, std::memory_order_relaxed);
    }
    take(*job);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

#if defined(__x86_64__)
// Asked of the processor itself: what __builtin_cpu_supports reads is filled in by a library that zig does not link, and then says
// no to everything.
int best_x86_variant() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
  const bool has_fma = c & bit_FMA;
  // The operating system must save the wider registers too.
  unsigned saved, unused;
  asm volatile("xgetbv" : "=a"(saved), "=d"(unused) : "c"(0));
  constexpr unsigned kYmm = 0x06, kZmm = 0xe6;
  if ((saved & kYmm) != kYmm || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  constexpr unsigned kAvx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if ((saved & kZmm) == kZmm && (b & kAvx512) == kAvx512) {
    const bool has_bfloat16 = a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVX512BF16);
    return has_bfloat16 ? 3 : 2;
  }
  return (b & bit_AVX2) && has_fma ? 1 : 0;
}
#endif

std::mutex region;  // one parallel region at a time
Pool* pool = nullptr;  // leaked at exit on purpose: no destructor may race with live threads
int wanted_threads = 1;

}  // namespace

void parallel_for(int64_t chunks, const std::function<void(int64_t)>& fn) {
  Job job;
  job.fn = &fn;
  job.chunks = chunks;
  std::unique_lock<std::mutex> lock(region, std::try_to_lock);
  if (inside_chunk || chunks <= 1 || wanted_threads == 1 || !lock.owns_lock()) {
    Pool::take(job);
    return;
  }
  if (pool != nullptr && !pool->survives_fork()) {
    pool->abandon();
    pool = nullptr;
  }
  if (pool == nullptr || pool->size() != wanted_threads) {
    delete pool;
    pool = new Pool(wanted_threads);
  }
  inside_chunk = true;
  pool->run(job);
  inside_chunk = false;
}

}  // namespace sw

SW_EXPORT void sw_set_threads(int threads) {
  std::lock_guard<std::mutex> lock(sw::region);
  sw::wanted_threads = threads < 1 ? 1 : threads;
}
SW_EXPORT int sw_get_threads() { return sw::wanted_threads; }
SW_EXPORT const char* sw_variant() { return SW_VARIANT; }
// Fingerprint of the entry points it was compiled with, see interface.py.
SW_EXPORT const char* sw_interface() { return SW_INTERFACE; }

// Best variant this processor can run: 0 base, 1 avx2, 2 avx512, 3 avx512 with products of bfloat16 pairs.
SW_EXPORT int sw_best_variant() {
#if defined(__x86_64__)
  return sw::best_x86_variant();
#else
  return 0;
#endif
}
