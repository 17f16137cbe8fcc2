// Fused kernels of the training step on a CPU: what lies between the matrix products.
//
// Plain C, called through ctypes with pointers to float32 rows; kernels.py compiles this file and gives every function its
// gradient. Work is cut into pieces of fixed size and partial sums are added in the pieces' order, so that the result
// does not depend on the number of threads.
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

// e^x to a relative error of 2e-7 for |x| < 87, clamped beyond: by 2^n 2^f with a polynomial for 2^f (Cody and Waite, 1980).
// Unlike the library's, it lets every compiler use vector instructions.
inline float exponential(float x) {
  x = std::min(std::max(x, -87.0f), 88.0f);
  const float n = std::floor(x * 1.44269504f + 0.5f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
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

// What all attention functions take.
struct Tree {
  const int32_t *path, *query;
  int64_t rows, length, heads;
};

// K is the head width where it is known when compiling, else 0.
template <int64_t K>
void attend(const float* qkv, Tree tree, int64_t head_width, float* out, float* log_sum) {
  const int64_t width = K ? K : head_width, all = tree.heads * width;
  const float scale = 1.0f / std::sqrt(static_cast<float>(width));
#pragma omp parallel for schedule(dynamic, CHUNK)
  for (int64_t row = 0; row < tree.rows; ++row) {
    float score[LONGEST];
    const int32_t* nodes = tree.path + row * tree.length;
    for (int64_t t = 0; t < tree.length && nodes[t] >= 0; ++t) {
      const int64_t answer = tree.query[row * tree.length + t];
      if (answer < 0) continue;
      for (int64_t h = 0; h < tree.heads; ++h) {
        const float *q = qkv + nodes[t] * 3 * all + h * width, *k = qkv + all + h * width, *v = k + all;
        float highest = std::numeric_limits<float>::lowest();
        for (int64_t s = 0; s <= t; ++s) {
          score[s] = scale * dot(q, k + nodes[s] * 3 * all, width);
          highest = std::max(highest, score[s]);
        }
        float total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t s = 0; s <= t; ++s) {
          score[s] = exponential(score[s] - highest);
          total += score[s];
        }
        float* mixed = out + answer * all + h * width;
        std::fill(mixed, mixed + width, 0.0f);
        for (int64_t s = 0; s <= t; ++s) add_scaled(mixed, v + nodes[s] * 3 * all, score[s] / total, width);
        log_sum[answer * tree.heads + h] = highest + std::log(total);
      }
    }
  }
}

// The gradient of qkv. Keys and values of a node are written once, from all that look at it; queries where they ask.
template <int64_t K>
void attend_backward(const float* dout, const float* out, const float* log_sum, const float* qkv, Tree tree,
                     int64_t head_width, float* dqkv) {
  const int64_t width = K ? K : head_width, all = tree.heads * width, length = tree.length;
  const float scale = 1.0f / std::sqrt(static_cast<float>(width));
  const int64_t n_chunks = (tree.rows + CHUNK - 1) / CHUNK;
  // What a chunk adds to nodes that an earlier chunk writes: one node per position at most, as rows are sorted.
  std::vector<float> owed(n_chunks * length * 2 * all, 0.0f);
#pragma omp parallel
  {
    std::vector<float> sums(length * 2 * all);  // dk, then dv, of the nodes of the current row
#pragma omp for schedule(dynamic)
    for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
      const int64_t first = chunk * CHUNK, end = std::min(first + CHUNK, tree.rows);
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (int64_t row = first; row < end; ++row) {
        const int32_t* nodes = tree.path + row * length;
        for (int64_t t = 0; t < length && nodes[t] >= 0; ++t) {
          const int64_t answer = tree.query[row * length + t];
          if (answer < 0) continue;
          for (int64_t h = 0; h < tree.heads; ++h) {
            const float *q = qkv + nodes[t] * 3 * all + h * width, *k = qkv + all + h * width, *v = k + all;
            const float* slope = dout + answer * all + h * width;
            float* dq = dqkv + nodes[t] * 3 * all + h * width;
            const float through = dot(slope, out + answer * all + h * width, width);
            std::fill(dq, dq + width, 0.0f);
            for (int64_t s = 0; s <= t; ++s) {
              const float* key = k + nodes[s] * 3 * all;
              const float share = exponential(scale * dot(q, key, width) - log_sum[answer * tree.heads + h]);
              const float dscore = scale * share * (dot(slope, v + nodes[s] * 3 * all, width) - through);
              float* sum = sums.data() + s * 2 * all + h * width;
              add_scaled(dq, key, dscore, width);
              add_scaled(sum, q, dscore, width);
              add_scaled(sum + all, slope, share, width);
            }
          }
        }
        // Nodes that the next row does not share are complete, as far as this chunk goes.
        for (int64_t s = 0; s < length && nodes[s] >= 0; ++s) {
          if (row + 1 < end && nodes[length + s] == nodes[s]) continue;
          float* sum = sums.data() + s * 2 * all;
          const bool written_before = first > 0 && tree.path[(first - 1) * length + s] == nodes[s];
          float* to = written_before ? owed.data() + (chunk * length + s) * 2 * all : dqkv + nodes[s] * 3 * all + all;
          std::copy(sum, sum + 2 * all, to);
          std::fill(sum, sum + 2 * all, 0.0f);
        }
      }
    }
  }
  for (int64_t chunk = 1; chunk < n_chunks; ++chunk) {
    const int32_t *nodes = tree.path + chunk * CHUNK * length, *before = nodes - length;
    for (int64_t s = 0; s < length && nodes[s] >= 0 && nodes[s] == before[s]; ++s)
      add_scaled(dqkv + nodes[s] * 3 * all + all, owed.data() + (chunk * length + s) * 2 * all, 1.0f, 2 * all);
  }
}

}  // namespace

extern "C" {

// y = x / rms(x) * weight; inverse keeps 1 / rms(x).
void rms_norm(const float* x, const float* weight, float eps, int64_t n, int64_t width, float* y, float* inverse) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    const float *row = x + i * width, r = 1.0f / std::sqrt(dot(row, row, width) / width + eps);
    float* to = y + i * width;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) to[j] = row[j] * r * weight[j];
    inverse[i] = r;
  }
}

// dx = dskip + the gradient through the norm, where x also goes on unchanged and dskip is the gradient of that.
void rms_norm_backward(const float* dy, const float* dskip, const float* x, const float* weight, const float* inverse,
                       int64_t n, int64_t width, float* dx, float* dweight) {
  const int64_t n_chunks = (n + NORM_CHUNK - 1) / NORM_CHUNK;
  std::vector<float> parts(n_chunks * width, 0.0f);
#pragma omp parallel for schedule(static)
  for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
    float* part = parts.data() + chunk * width;
    for (int64_t i = chunk * NORM_CHUNK; i < std::min((chunk + 1) * NORM_CHUNK, n); ++i) {
      const float *row = x + i * width, *slope = dy + i * width, *skip = dskip + i * width, r = inverse[i];
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
    }
  }
  std::fill(dweight, dweight + width, 0.0f);
  for (int64_t chunk = 0; chunk < n_chunks; ++chunk) add_scaled(dweight, parts.data() + chunk * width, 1.0f, width);
}

// h = silu(gate) * up, where a row of x is gate, then up, each `width` wide.
void gated(const float* x, int64_t n, int64_t width, float* h) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    const float *gate = x + i * 2 * width, *up = gate + width;
    float* to = h + i * width;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) to[j] = gate[j] * up[j] / (1.0f + exponential(-gate[j]));
  }
}

void gated_backward(const float* dh, const float* x, int64_t n, int64_t width, float* dx) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    const float *gate = x + i * 2 * width, *up = gate + width, *slope = dh + i * width;
    float *dgate = dx + i * 2 * width, *dup = dgate + width;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) {
      const float sigmoid = 1.0f / (1.0f + exponential(-gate[j]));
      dup[j] = slope[j] * gate[j] * sigmoid;
      dgate[j] = slope[j] * up[j] * sigmoid * (1.0f + gate[j] * (1.0f - sigmoid));
    }
  }
}

// Turn the queries and keys of n nodes in place by the rotary angle of their position (sign -1 turns back). cos and sin
// are (positions, head_width).
void rotary(float* qkv, const int32_t* position, const float* cos, const float* sin, float sign, int64_t n, int64_t heads,
            int64_t head_width) {
  const int64_t half = head_width / 2;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    const float *c = cos + position[i] * head_width, *s = sin + position[i] * head_width;
    for (int64_t h = 0; h < 2 * heads; ++h) {
      float *left = qkv + (i * 3 * heads + h) * head_width, *right = left + half;
#pragma omp simd
      for (int64_t j = 0; j < half; ++j) {
        const float a = left[j], b = right[j];
        left[j] = a * c[j] - sign * b * s[j];
        right[j] = b * c[j] + sign * a * s[j];
      }
    }
  }
}

void attention(const float* qkv, const int32_t* path, const int32_t* query, int64_t rows, int64_t length, int64_t heads,
               int64_t head_width, float* out, float* log_sum) {
  auto* run = head_width == 32 ? attend<32> : attend<0>;
  run(qkv, {path, query, rows, length, heads}, head_width, out, log_sum);
}

void attention_backward(const float* dout, const float* out, const float* log_sum, const float* qkv, const int32_t* path,
                        const int32_t* query, int64_t rows, int64_t length, int64_t heads, int64_t head_width,
                        float* dqkv) {
  auto* run = head_width == 32 ? attend_backward<32> : attend_backward<0>;
  run(dout, out, log_sum, qkv, {path, query, rows, length, heads}, head_width, dqkv);
}
}
