// Vectors, 16-bit numbers with correct rounding, and the arithmetic that CUDA has beyond C++.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define VECTOR2(T, name)                                                                                     \
    struct alignas(2 * sizeof(T)) name {                                                                     \
        T x, y;                                                                                              \
    };                                                                                                       \
    inline name make_##name(T x, T y) { return {x, y}; }
#define VECTOR4(T, name, align)                                                                              \
    struct alignas(align) name {                                                                             \
        T x, y, z, w;                                                                                        \
    };                                                                                                       \
    inline name make_##name(T x, T y, T z, T w) { return {x, y, z, w}; }
VECTOR2(float, float2)
VECTOR2(double, double2)
VECTOR2(int, int2)
VECTOR2(unsigned, uint2)
VECTOR4(float, float4, 16)
VECTOR4(int, int4, 16)
VECTOR4(unsigned, uint4, 16)
VECTOR4(double, double4, 16)

namespace cuda_on_cpu {

template <class To, class From> To bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    memcpy(&result, &value, sizeof result);
    return result;
}

// A float32 rounded to nearest, ties to even, to its upper 16 bits.
inline uint16_t to_bfloat16(float value) {
    uint32_t all = bits<uint32_t>(value);
    if (value != value)
        return 0x7FFF;
    return (all + 0x7FFF + (all >> 16 & 1)) >> 16;
}

inline float from_bfloat16(uint16_t half) { return bits<float>(uint32_t{half} << 16); }

// To nearest, ties to even, by way of integers: 11 significant bits, exponents −14 to 15, below that a fixed
// point.
inline uint16_t to_half(float value) {
    uint16_t sign = bits<uint32_t>(value) >> 16 & 0x8000;
    double size = std::fabs(double{value});
    if (value != value)
        return 0x7FFF;
    if (size >= 65520.0)
        return sign | 0x7C00;
    int exponent;
    std::frexp(size, &exponent);
    exponent = exponent < -13 || !size ? -13 : exponent;
    double units = std::nearbyint(std::ldexp(size, 11 - exponent)); // may carry into the exponent
    return sign | static_cast<uint16_t>((exponent + 13) * 1024 + units);
}

// The same fields, three bits of exponent and 13 of fraction further to the right, make a float32 whose exponent
// stands for 2¹¹² less.
inline float from_half(uint16_t half) {
    uint32_t size = half & 0x7FFF, sign = uint32_t{half} >> 15 << 31;
    float finite = bits<float>(size << 13) * 0x1p112f;
    return bits<float>(sign | (size < 0x7C00 ? bits<uint32_t>(finite) : 0x7F800000 | size << 13));
}

// cvt.rna.tf32.f32: to nearest at 10 bits of fraction, ties away from zero.
inline uint32_t to_tf32(float value) {
    uint32_t all = bits<uint32_t>(value);
    return value != value || std::isinf(value) ? all : (all + 0x1000) & ~0x1FFFu;
}

// A tensor core ignores the lower 13 bits of what it is given as TF32.
inline float read_tf32(uint32_t all) { return bits<float>(all & ~0x1FFFu); }

} // namespace cuda_on_cpu

struct __half {
    uint16_t bits;
    __half() = default;
    __half(float value) : bits(cuda_on_cpu::to_half(value)) {}
    operator float() const { return cuda_on_cpu::from_half(bits); }
};
struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float value) : bits(cuda_on_cpu::to_bfloat16(value)) {}
    operator float() const { return cuda_on_cpu::from_bfloat16(bits); }
};
using half = __half;
inline float __half2float(__half value) { return value; }
inline __half __float2half(float value) { return value; }
inline __half __float2half_rn(float value) { return value; }
inline float __bfloat162float(__nv_bfloat16 value) { return value; }
inline __nv_bfloat16 __float2bfloat16(float value) { return value; }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return value; }

using std::isfinite;
using std::isinf;
using std::isnan;

#define LEAST_AND_MOST(T)                                                                                    \
    inline T min(T a, T b) { return b < a ? b : a; }                                                         \
    inline T max(T a, T b) { return a < b ? b : a; }
LEAST_AND_MOST(int)
LEAST_AND_MOST(unsigned)
LEAST_AND_MOST(long)
LEAST_AND_MOST(unsigned long)
LEAST_AND_MOST(long long)
LEAST_AND_MOST(unsigned long long)
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline float rsqrtf(float value) { return 1 / sqrtf(value); }
inline double rsqrt(double value) { return 1 / sqrt(value); }
inline float rsqrt(float value) { return 1 / sqrtf(value); }
inline float __expf(float value) { return expf(value); }
inline float __logf(float value) { return logf(value); }
inline float __powf(float value, float power) { return powf(value, power); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float value) { return 1 / value; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }

inline int __float_as_int(float value) { return cuda_on_cpu::bits<int>(value); }
inline unsigned __float_as_uint(float value) { return cuda_on_cpu::bits<unsigned>(value); }
inline float __int_as_float(int value) { return cuda_on_cpu::bits<float>(value); }
inline float __uint_as_float(unsigned value) { return cuda_on_cpu::bits<float>(value); }
inline long long __double_as_longlong(double value) { return cuda_on_cpu::bits<long long>(value); }
inline double __longlong_as_double(long long value) { return cuda_on_cpu::bits<double>(value); }
inline unsigned __umulhi(unsigned a, unsigned b) { return uint64_t{a} * b >> 32; }
inline int __mulhi(int a, int b) { return int64_t{a} * b >> 32; }
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __clz(int value) { return value ? __builtin_clz(value) : 32; }
template <class T> T __ldg(const T *address) { return *address; }
template <class T> T __ldcs(const T *address) { return *address; }
template <class T> void __stcs(T *address, T value) { *address = value; }

// Atomic here because nothing else runs: one thread at a time. Each gives the value before.
template <class T, class U> T atomicAdd(T *at, U value) {
    T before = *at;
    *at = before + T(value);
    return before;
}
template <class T, class U> T atomicMax(T *at, U value) {
    T before = *at;
    *at = before < T(value) ? T(value) : before;
    return before;
}
template <class T, class U> T atomicMin(T *at, U value) {
    T before = *at;
    *at = T(value) < before ? T(value) : before;
    return before;
}
template <class T, class U> T atomicExch(T *at, U value) {
    T before = *at;
    *at = T(value);
    return before;
}
template <class T, class U> T atomicOr(T *at, U value) {
    T before = *at;
    *at = before | T(value);
    return before;
}
template <class T, class U, class V> T atomicCAS(T *at, U compare, V value) {
    T before = *at;
    if (before == T(compare))
        *at = T(value);
    return before;
}
