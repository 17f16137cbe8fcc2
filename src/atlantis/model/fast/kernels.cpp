// Fused kernels of the training step on a CPU: what lies between the matrix products.
//
// Plain C, called through ctypes with pointers to rows of float32 or bfloat16; kernels.py compiles this file and gives every
// function its gradient. Sums are taken in float32 whatever is stored. Work is cut into pieces of fixed size and partial
// sums are added in the pieces' order, so that the result does not depend on the number of threads.
//
// A tree (tree.py) is a set of nodes, one for every distinct beginning of a row: rows that begin alike share nodes. Attention
// reads `path`, (rows, length): the node at each position of each row, -1 past its end. Rows are sorted, so the rows of a
// node follow each other. `query`, (rows, length), says where the answer of the node at that position goes, -1 for none:
// every node asks once at most, in the first row that holds it. A node's q, k and v lie side by side in qkv.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

constexpr int64_t CHUNK = 32;        // rows of the tree per piece
constexpr int64_t NORM_CHUNK = 256;  // nodes per piece
constexpr int64_t LONGEST = 1024;    // positions of a row, checked by kernels.py

// The upper half of a float32.
struct Bf16 {
  uint16_t bits;
};

inline float wide(float x) { return x; }

inline float wide(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

inline void put(float& to, float x) { to = x; }

// Rounded to the nearest, to even between two.
inline void put(Bf16& to, float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  to.bits = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// e^x to a relative error of 2e-7 for |x| < 87, clamped beyond: by 2^n 2^f with a polynomial for 2^f (Cody and Waite, 1980).
// Unlike the library's, it lets every compiler use vector instructions. n is by rintf and not by floor(y + 0.5), which g++ can
// work out for the two clamped values: it then makes branches of the clamps, and no vectors.
inline float exponential(float x) {
  const float low = x < -87.0f ? -87.0f : x, inside = low > 88.0f ? 88.0f : low;
  const float n = __builtin_rintf(inside * 1.44269504f);
  const float r = (inside - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

inline float dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

inline void add_scaled(float* to, const float* from, float scale, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] += scale * from[i];
}

template <typename T>
inline void load(float* to, const T* from, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = wide(from[i]);
}

template <typename T>
inline void store(T* to, const float* from, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) put(to[i], from[i]);
}

// What all attention functions take.
struct Tree {
  const int32_t *path, *query;
  int64_t rows, length, heads;
};

// q, k and v in float32 of the nodes of one row after the other; what a row shares with the one before is kept.
template <typename T>
class Row {
 public:
  Row(const T* qkv, Tree tree, int64_t size)
      : qkv_(qkv), tree_(tree), size_(size), held_(tree.length, -1), values_(tree.length * size) {}

  // The row's length.
  int64_t read(int64_t row) {
    const int32_t* nodes = tree_.path + row * tree_.length;
    int64_t s = 0;
    for (; s < tree_.length && nodes[s] >= 0; ++s) {
      if (held_[s] == nodes[s]) continue;
      load(values_.data() + s * size_, qkv_ + nodes[s] * size_, size_);
      held_[s] = nodes[s];
    }
    return s;
  }

  const float* at(int64_t s) const { return values_.data() + s * size_; }

 private:
  const T* qkv_;
  Tree tree_;
  int64_t size_;
  std::vector<int32_t> held_;
  std::vector<float> values_;
};

// The score of a query with each of n keys, or of a slope with each of n values: `size` floats lie between two of them.
template <int64_t K>
inline void dots(const float* query, const float* keys, int64_t n, int64_t size, int64_t head_width, float* score) {
  const int64_t width = K ? K : head_width;
  for (int64_t s = 0; s < n; ++s) score[s] = dot(query, keys + s * size, width);
}

// Attention of one query over the first n nodes of a row, added to `mixed`; returns the scores' log-sum-exp.
template <int64_t K>
inline float mix(const float* query, const float* keys, const float* values, int64_t n, int64_t size, int64_t head_width,
                 float* mixed) {
  const int64_t width = K ? K : head_width;
  const float scale = 1.0f / std::sqrt(static_cast<float>(width));
  float score[LONGEST], highest = std::numeric_limits<float>::lowest(), total = 0;
  dots<K>(query, keys, n, size, head_width, score);
  for (int64_t s = 0; s < n; ++s) highest = std::max(highest, score[s]);
#pragma omp simd reduction(+ : total)
  for (int64_t s = 0; s < n; ++s) {
    score[s] = exponential(scale * (score[s] - highest));
    total += score[s];
  }
  for (int64_t s = 0; s < n; ++s) add_scaled(mixed, values + s * size, score[s] / total, width);
  return scale * highest + std::log(total);
}

// The gradient through `mix`, added to dquery, and to the dkeys and dvalues of the n nodes, `dsize` apart.
template <int64_t K>
inline void mix_backward(const float* query, const float* keys, const float* values, int64_t n, int64_t size,
                         int64_t head_width, const float* mixed, const float* slope, float log_total, float* dquery,
                         float* dkeys, float* dvalues, int64_t dsize) {
  const int64_t width = K ? K : head_width;
  const float scale = 1.0f / std::sqrt(static_cast<float>(width)), through = dot(slope, mixed, width);
  float share[LONGEST], dscore[LONGEST];
  dots<K>(query, keys, n, size, head_width, share);
  dots<K>(slope, values, n, size, head_width, dscore);
#pragma omp simd
  for (int64_t s = 0; s < n; ++s) {
    share[s] = exponential(scale * share[s] - log_total);
    dscore[s] = scale * share[s] * (dscore[s] - through);
  }
  for (int64_t s = 0; s < n; ++s) add_scaled(dquery, keys + s * size, dscore[s], width);
  for (int64_t s = 0; s < n; ++s) add_scaled(dkeys + s * dsize, query, dscore[s], width);
  for (int64_t s = 0; s < n; ++s) add_scaled(dvalues + s * dsize, slope, share[s], width);
}

// K is the head width where it is known when compiling, else 0.
template <int64_t K, typename T>
void attend(const T* qkv, Tree tree, int64_t head_width, T* out, float* log_sum) {
  const int64_t all = tree.heads * head_width;
#pragma omp parallel
  {
    Row<T> nodes(qkv, tree, 3 * all);
    std::vector<float> mixed(all);
#pragma omp for schedule(dynamic, CHUNK)
    for (int64_t row = 0; row < tree.rows; ++row) {
      const int64_t length = nodes.read(row);
      for (int64_t t = 0; t < length; ++t) {
        const int64_t answer = tree.query[row * tree.length + t];
        if (answer < 0) continue;
        std::fill(mixed.begin(), mixed.end(), 0.0f);
        for (int64_t h = 0; h < tree.heads; ++h) {
          const int64_t q = h * head_width;
          log_sum[answer * tree.heads + h] = mix<K>(nodes.at(t) + q, nodes.at(0) + all + q, nodes.at(0) + 2 * all + q,
                                                    t + 1, 3 * all, head_width, mixed.data() + q);
        }
        store(out + answer * all, mixed.data(), all);
      }
    }
  }
}

// The gradient of qkv. Keys and values of a node are written once, from all that look at it; queries where they ask.
template <int64_t K, typename T>
void attend_backward(const T* dout, const T* out, const float* log_sum, const T* qkv, Tree tree, int64_t head_width,
                     T* dqkv) {
  const int64_t all = tree.heads * head_width, length = tree.length;
  const int64_t n_chunks = (tree.rows + CHUNK - 1) / CHUNK;
  // What a chunk adds to nodes that an earlier chunk writes: one node per position at most, as rows are sorted.
  std::vector<float> owed(n_chunks * length * 2 * all, 0.0f);
#pragma omp parallel
  {
    Row<T> nodes(qkv, tree, 3 * all);
    std::vector<float> sums(length * 2 * all);  // dk, then dv, of the nodes of the current row
    std::vector<float> slope(all), mixed(all), dq(all);
#pragma omp for schedule(dynamic)
    for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
      const int64_t first = chunk * CHUNK, end = std::min(first + CHUNK, tree.rows);
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (int64_t row = first; row < end; ++row) {
        const int32_t* ids = tree.path + row * length;
        const int64_t own_length = nodes.read(row);
        for (int64_t t = 0; t < own_length; ++t) {
          const int64_t answer = tree.query[row * length + t];
          if (answer < 0) continue;
          load(slope.data(), dout + answer * all, all);
          load(mixed.data(), out + answer * all, all);
          std::fill(dq.begin(), dq.end(), 0.0f);
          for (int64_t h = 0; h < tree.heads; ++h) {
            const int64_t q = h * head_width;
            mix_backward<K>(nodes.at(t) + q, nodes.at(0) + all + q, nodes.at(0) + 2 * all + q, t + 1, 3 * all, head_width,
                            mixed.data() + q, slope.data() + q, log_sum[answer * tree.heads + h], dq.data() + q,
                            sums.data() + q, sums.data() + all + q, 2 * all);
          }
          store(dqkv + ids[t] * 3 * all, dq.data(), all);
        }
        // Nodes that the next row does not share are complete, as far as this chunk goes.
        for (int64_t s = 0; s < own_length; ++s) {
          if (row + 1 < end && ids[length + s] == ids[s]) continue;
          float* sum = sums.data() + s * 2 * all;
          const bool written_before = first > 0 && tree.path[(first - 1) * length + s] == ids[s];
          if (written_before)
            std::copy(sum, sum + 2 * all, owed.data() + (chunk * length + s) * 2 * all);
          else
            store(dqkv + ids[s] * 3 * all + all, sum, 2 * all);
          std::fill(sum, sum + 2 * all, 0.0f);
        }
      }
    }
  }
  std::vector<float> sum(2 * all);
  for (int64_t s = 0; s < length; ++s) {
    int64_t chunk = 1;
    while (chunk < n_chunks) {
      const int32_t node = tree.path[chunk * CHUNK * length + s];
      if (node < 0 || node != tree.path[(chunk * CHUNK - 1) * length + s]) {
        ++chunk;
        continue;
      }
      T* to = dqkv + node * 3 * all + all;  // summed in float32, and rounded once for all the chunks that owe to it
      load(sum.data(), to, 2 * all);
      for (; chunk < n_chunks && tree.path[chunk * CHUNK * length + s] == node; ++chunk)
        add_scaled(sum.data(), owed.data() + (chunk * length + s) * 2 * all, 1.0f, 2 * all);
      store(to, sum.data(), 2 * all);
    }
  }
}

// y = x / rms(x) * weight; inverse keeps 1 / rms(x). With `more`, x is first x + more, which goes to `sum`.
template <typename T>
void norm(const float* x, const T* more, const float* weight, float eps, int64_t n, int64_t width, float* sum, T* y,
          float* inverse) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    const float* row = x + i * width;
    if (more) {
      float* total = sum + i * width;
      const T* add = more + i * width;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) total[j] = row[j] + wide(add[j]);
      row = total;
    }
    const float r = 1.0f / std::sqrt(dot(row, row, width) / width + eps);
    T* to = y + i * width;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) put(to[j], row[j] * r * weight[j]);
    inverse[i] = r;
  }
}

// dx = dskip + the gradient through the norm, where x also goes on unchanged and dskip is the gradient of that. With
// `dmore`, the same in T.
template <typename T>
void norm_backward(const T* dy, const float* dskip, const float* x, const float* weight, const float* inverse, int64_t n,
                   int64_t width, float* dx, T* dmore, float* dweight) {
  const int64_t n_chunks = (n + NORM_CHUNK - 1) / NORM_CHUNK;
  std::vector<float> parts(n_chunks * width, 0.0f);
#pragma omp parallel
  {
    std::vector<float> slopes(width);
#pragma omp for schedule(static)
    for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
      float *part = parts.data() + chunk * width, *slope = slopes.data();
      for (int64_t i = chunk * NORM_CHUNK; i < std::min((chunk + 1) * NORM_CHUNK, n); ++i) {
        const float *row = x + i * width, *skip = dskip + i * width, r = inverse[i];
        load(slope, dy + i * width, width);
        float along = 0;
#pragma omp simd reduction(+ : along)
        for (int64_t j = 0; j < width; ++j) along += slope[j] * weight[j] * row[j];
        const float back = along * r * r * r / width;
        float* to = dx + i * width;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) {
          to[j] = skip[j] + slope[j] * weight[j] * r - row[j] * back;
          part[j] += slope[j] * row[j] * r;
        }
        if (dmore) store(dmore + i * width, to, width);
      }
    }
  }
  std::fill(dweight, dweight + width, 0.0f);
  for (int64_t chunk = 0; chunk < n_chunks; ++chunk) add_scaled(dweight, parts.data() + chunk * width, 1.0f, width);
}

// h = silu(gate) * up, where a row of x is gate, then up, each `width` wide.
template <typename T>
void gate(const T* x, int64_t n, int64_t width, T* h) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    const T *gates = x + i * 2 * width, *up = gates + width;
    T* to = h + i * width;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) {
      const float g = wide(gates[j]);
      put(to[j], g * wide(up[j]) / (1.0f + exponential(-g)));
    }
  }
}

template <typename T>
void gate_backward(const T* dh, const T* x, int64_t n, int64_t width, T* dx) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    const T *gates = x + i * 2 * width, *up = gates + width, *slope = dh + i * width;
    T *dgate = dx + i * 2 * width, *dup = dgate + width;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) {
      const float g = wide(gates[j]), d = wide(slope[j]), sigmoid = 1.0f / (1.0f + exponential(-g));
      put(dup[j], d * g * sigmoid);
      put(dgate[j], d * wide(up[j]) * sigmoid * (1.0f + g * (1.0f - sigmoid)));
    }
  }
}

// Turn the queries and keys of n nodes in place by the rotary angle of their position (sign -1 turns back). cos and sin
// are (positions, head_width).
template <typename T>
void turn(T* qkv, const int32_t* position, const float* cos, const float* sin, float sign, int64_t n, int64_t heads,
          int64_t head_width) {
  const int64_t half = head_width / 2;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    const float *c = cos + position[i] * head_width, *s = sin + position[i] * head_width;
    for (int64_t h = 0; h < 2 * heads; ++h) {
      T *left = qkv + (i * 3 * heads + h) * head_width, *right = left + half;
#pragma omp simd
      for (int64_t j = 0; j < half; ++j) {
        const float a = wide(left[j]), b = wide(right[j]);
        put(left[j], a * c[j] - sign * b * s[j]);
        put(right[j], b * c[j] + sign * a * s[j]);
      }
    }
  }
}

}  // namespace

// Every function once for float32 and once for bfloat16.
#define FOR_TYPE(T, NAMED)                                                                                               \
  void NAMED(rms_norm)(const float* x, const T* more, const float* weight, float eps, int64_t n, int64_t width,          \
                       float* sum, T* y, float* inverse) {                                                               \
    norm(x, more, weight, eps, n, width, sum, y, inverse);                                                               \
  }                                                                                                                      \
  void NAMED(rms_norm_backward)(const T* dy, const float* dskip, const float* x, const float* weight,                    \
                                const float* inverse, int64_t n, int64_t width, float* dx, T* dmore, float* dweight) {   \
    norm_backward(dy, dskip, x, weight, inverse, n, width, dx, dmore, dweight);                                          \
  }                                                                                                                      \
  void NAMED(gated)(const T* x, int64_t n, int64_t width, T* h) { gate(x, n, width, h); }                                \
  void NAMED(gated_backward)(const T* dh, const T* x, int64_t n, int64_t width, T* dx) {                                 \
    gate_backward(dh, x, n, width, dx);                                                                                  \
  }                                                                                                                      \
  void NAMED(rotary)(T* qkv, const int32_t* position, const float* cos, const float* sin, float sign, int64_t n,         \
                     int64_t heads, int64_t head_width) {                                                                \
    turn(qkv, position, cos, sin, sign, n, heads, head_width);                                                           \
  }                                                                                                                      \
  void NAMED(attention)(const T* qkv, const int32_t* path, const int32_t* query, int64_t rows, int64_t length,           \
                        int64_t heads, int64_t head_width, T* out, float* log_sum) {                                     \
    auto* run = head_width == 32 ? attend<32, T> : attend<0, T>;                                                         \
    run(qkv, {path, query, rows, length, heads}, head_width, out, log_sum);                                              \
  }                                                                                                                      \
  void NAMED(attention_backward)(const T* dout, const T* out, const float* log_sum, const T* qkv, const int32_t* path,   \
                                 const int32_t* query, int64_t rows, int64_t length, int64_t heads, int64_t head_width,  \
                                 T* dqkv) {                                                                              \
    auto* run = head_width == 32 ? attend_backward<32, T> : attend_backward<0, T>;                                       \
    run(dout, out, log_sum, qkv, {path, query, rows, length, heads}, head_width, dqkv);                                  \
  }

#define IN_FLOAT32(name) name
#define IN_BFLOAT16(name) name##_bf16

extern "C" {
FOR_TYPE(float, IN_FLOAT32)
FOR_TYPE(Bf16, IN_BFLOAT16)
}
