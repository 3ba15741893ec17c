// One block of CUDA threads on one CPU thread: each CUDA thread is a fiber, that is a stack and the registers
// to go on with. A fiber runs until it waits at a barrier or for its warp; then the next one runs. Everything
// happens in the same order each time, and since a thread, and a warp, comes as far as it can before the next
// one starts, a kernel that lacks a barrier reads what is not there yet and gives wrong numbers here, rather
// than now and then on a GPU.
#pragma once

#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>
#include <utility>
#include <vector>

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace cuda_on_cpu {

constexpr unsigned MOST_THREADS = 1024;
constexpr size_t STACK = 128 * 1024, SLOT = 64, PAGE = 65536, DYNAMIC = 256 * 1024;

enum State { READY, AT_BARRIER, AT_WARP, FINISHED };

struct Copy {
    void *to;
    const void *from;
    unsigned bytes, valid;
};

struct Fiber {
    ucontext_t start;
    jmp_buf registers;
    bool started = false;
    State state;
    uint3 index;
    int line;           // of the barrier it waits at
    unsigned mask;      // the lanes it waits for
    unsigned exchanges; // how many times it has met other lanes
    std::vector<std::vector<Copy>> copies; // asynchronous ones in groups; the last one is not committed yet
};

static Fiber *fibers, *current;
static unsigned char *stacks, *dynamic_end; // dynamic shared memory ends where no access is allowed
static unsigned char slots[2][MOST_THREADS][SLOT];
static unsigned threads;
static unsigned any_votes; // of __syncthreads_or and the like
static unsigned all_votes, count_votes, votes_or, votes_and, votes_count;
static jmp_buf scheduler;
static sigjmp_buf failure;
static char message[400];
static void *dynamic_shared;

#if defined(__ELF__)
// All static shared variables lie in one section, so that they can be filled with NaN before each block.
extern "C" unsigned char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern "C" unsigned char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));
#endif

struct Call { // the kernel with its arguments, whatever their types are
    void (*run)(const void *kernel, void **args);
    const void *kernel;
    void **args;
};
static Call call;

[[noreturn]] static void fail(const char *what) {
    snprintf(message, sizeof message, "%s, in block (%u, %u, %u), thread (%u, %u, %u)", what, blockIdx.x,
             blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    siglongjmp(failure, 1);
}

static void on_signal(int signal) {
    fail(signal == SIGSEGV || signal == SIGBUS
             ? "access to memory that belongs to no array"
             : "undefined behaviour (index outside an array, misaligned vector, overflow, or the like)");
}

static void yield() {
    if (!_setjmp(current->registers))
        _longjmp(scheduler, 1);
}

static void resume(Fiber &fiber) {
    current = &fiber;
    threadIdx = fiber.index;
    if (!_setjmp(scheduler)) {
        if (fiber.started)
            _longjmp(fiber.registers, 1);
        fiber.started = true;
        setcontext(&fiber.start);
    }
}

static void run_for_ever() { // one block's thread after another
    for (;;) {
        call.run(call.kernel, call.args);
        current->state = FINISHED;
        yield();
    }
}

static void prepare_fibers() {
    if (!fibers) {
        fibers = new Fiber[MOST_THREADS];
        int flags = MAP_PRIVATE | MAP_ANONYMOUS;
        stacks = static_cast<unsigned char *>(
            mmap(nullptr, MOST_THREADS * STACK, PROT_READ | PROT_WRITE, flags, -1, 0));
        void *pages = mmap(nullptr, DYNAMIC + PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
        dynamic_end = static_cast<unsigned char *>(pages) + DYNAMIC;
        mprotect(dynamic_end, PAGE, PROT_NONE);
    }
    for (unsigned t = 0; t < MOST_THREADS; ++t) {
        Fiber &fiber = fibers[t];
        fiber.started = false;
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = stacks + t * STACK;
        fiber.start.uc_stack.ss_size = STACK;
        fiber.start.uc_link = nullptr;
        makecontext(&fiber.start, run_for_ever, 0);
    }
}

static void barrier(int line) {
    current->state = AT_BARRIER;
    current->line = line;
    yield();
}

// Wait until all lanes of the mask are here.
static void meet(unsigned mask) {
    unsigned lane = (current - fibers) % 32;
    if (!(mask >> lane & 1))
        fail("a thread that is not in its own mask");
    current->state = AT_WARP;
    current->mask = mask;
    yield();
}

// Let those lanes of a warp go on that have all met.
static bool release_warp(unsigned first) {
    bool released = false;
    unsigned end = first + 32 < threads ? first + 32 : threads;
    for (unsigned t = first; t < end; ++t) {
        if (fibers[t].state != AT_WARP)
            continue;
        unsigned mask = fibers[t].mask, here = 0;
        for (unsigned other = first; other < end; ++other)
            if (fibers[other].state == AT_WARP && fibers[other].mask == mask)
                here |= 1u << (other - first);
        if ((here & mask) != mask)
            continue;
        for (unsigned other = first; other < end; ++other)
            if (mask >> (other - first) & 1)
                fibers[other].state = READY;
        released = true;
    }
    return released;
}

// Run a warp until no lane of it can go on by itself. How many have ended?
static unsigned run_warp(unsigned first, bool backwards) {
    unsigned size = first + 32 < threads ? 32 : threads - first, finished;
    do {
        finished = 0;
        for (unsigned i = 0; i < size; ++i) {
            Fiber &fiber = fibers[first + (backwards ? size - 1 - i : i)];
            if (fiber.state == READY)
                resume(fiber);
            finished += fiber.state == FINISHED;
        }
    } while (release_warp(first));
    return finished;
}

static void release_barrier() {
    unsigned waiting = 0, finished = 0;
    const Fiber *first = nullptr;
    for (unsigned t = 0; t < threads; ++t) {
        waiting += fibers[t].state == AT_BARRIER;
        finished += fibers[t].state == FINISHED;
        if (fibers[t].state != READY && fibers[t].state != FINISHED) {
            threadIdx = fibers[t].index;
            if (first && fibers[t].line != first->line)
                fail("divergent barriers: the threads of one block wait at different ones");
            first = &fibers[t];
        }
    }
    if (waiting != threads) {
        char what[200];
        snprintf(what, sizeof what,
                 "divergent barrier: of %u threads %u wait at a barrier, %u for their warp, %u have ended",
                 threads, waiting, threads - waiting - finished, finished);
        fail(what);
    }
    votes_or = any_votes, votes_and = all_votes, votes_count = count_votes;
    any_votes = count_votes = 0, all_votes = 1;
    for (unsigned t = 0; t < threads; ++t)
        fibers[t].state = READY;
}

static bool copies_at_once; // or when they are waited for: a GPU may do either

static void run_block(size_t shared, bool backwards) {
    copies_at_once = backwards;
#if defined(__ELF__)
    if (__start_cuda_shared)
        memset(__start_cuda_shared, 0xFF, __stop_cuda_shared - __start_cuda_shared);
#endif
    memset(dynamic_end - shared, 0xFF, shared);
    any_votes = count_votes = 0, all_votes = 1;
    for (unsigned t = 0; t < threads; ++t) {
        Fiber &fiber = fibers[t];
        fiber.state = READY;
        fiber.exchanges = 0;
        fiber.copies.clear();
        fiber.index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
    }
    for (unsigned warps = (threads + 31) / 32;;) {
        unsigned finished = 0;
        for (unsigned i = 0; i < warps; ++i)
            finished += run_warp((backwards ? warps - 1 - i : i) * 32, backwards);
        if (finished == threads)
            return;
        release_barrier();
    }
}

constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};

// Every block of the grid, one after another, every second one with its threads in the opposite order.
static const char *run_grid(const unsigned *grid, const unsigned *block, size_t shared) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    threads = block[0] * block[1] * block[2];
    if (shared > DYNAMIC)
        return "more dynamic shared memory than any GPU has";
    if (!fibers)
        prepare_fibers();
    dynamic_shared = dynamic_end - shared;
    static unsigned char signal_stack[65536];
    stack_t before_stack, own_stack = {};
    own_stack.ss_sp = signal_stack, own_stack.ss_size = sizeof signal_stack;
    sigaltstack(&own_stack, &before_stack);
    struct sigaction before[4], own = {};
    own.sa_handler = on_signal;
    own.sa_flags = SA_ONSTACK;
    for (int i = 0; i < 4; ++i)
        sigaction(SIGNALS[i], &own, &before[i]);
    bool failed = sigsetjmp(failure, 1);
    if (failed)
        prepare_fibers(); // they stand in the middle of a kernel
    else
        for (unsigned z = 0, number = 0; z < grid[2]; ++z)
            for (unsigned y = 0; y < grid[1]; ++y)
                for (unsigned x = 0; x < grid[0]; ++x) {
                    blockIdx = {x, y, z};
                    run_block(shared, number++ % 2);
                }
    for (int i = 0; i < 4; ++i)
        sigaction(SIGNALS[i], &before[i], nullptr);
    sigaltstack(&before_stack, nullptr);
    return failed ? message : nullptr;
}

template <class... A, size_t... I>
void run_with(void (*kernel)(A...), void **args, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A> *>(args[I])...);
}

template <class... A>
const char *launch(void (*kernel)(A...), void **args, const unsigned *grid, const unsigned *block,
                   size_t shared) {
    call.run = [](const void *kernel, void **args) {
        auto typed = reinterpret_cast<void (*)(A...)>(const_cast<void *>(kernel));
        run_with(typed, args, std::index_sequence_for<A...>{});
    };
    call.kernel = reinterpret_cast<const void *>(kernel);
    call.args = args;
    return run_grid(grid, block, shared);
}

// The types of a kernel's parameters, one letter each, after a star for a pointer and a space for a number.
template <class T> constexpr char letter() {
    using U = std::remove_cv_t<T>;
    if constexpr (std::is_same_v<U, float>) return 'f';
    else if constexpr (std::is_same_v<U, double>) return 'd';
    else if constexpr (std::is_same_v<U, bool>) return '?';
    else if constexpr (std::is_integral_v<U>) {
        constexpr char of_size[] = " bh i   l";
        return of_size[sizeof(U)] - (std::is_signed_v<U> ? 0 : 'a' - 'A');
    } else return '_'; // any
}

template <class... A> const char *signature(void (*)(A...)) {
    static char text[2 * sizeof...(A) + 1];
    char *at = text;
    ((*at++ = std::is_pointer_v<A> ? '*' : ' ', *at++ = letter<std::remove_pointer_t<A>>()), ...);
    return text;
}

static int static_shared() {
#if defined(__ELF__)
    return __stop_cuda_shared - __start_cuda_shared;
#else
    return 0; // unknown
#endif
}

} // namespace cuda_on_cpu
