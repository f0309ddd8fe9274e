#include <cuda_bf16.h>

#include <cfloat>

#include "cuda/gated_ffn.h"
#include "cuda/reduce.cuh"

namespace lacuna::cuda {
namespace {

// Warps of a block. Each warp multiplies one row.
constexpr int kRowsPerBlock = 8;
// Blocks for each token that share its chosen neurons' rows of `up`.
constexpr int kUpBlocks = 512;
// Parts in which the chosen neurons' rows of `down` are summed, so that few columns still occupy the whole device.
constexpr int kDownParts = 8;

// Working memory of a call, by token.
struct Workspace {
  // [tokens, neurons]
  float* gate;
  // [tokens, neurons]: chosen neurons in ascending order, and the factor of each neuron's row of `down`.
  int32_t* chosen;
  float* factors;
  // [tokens]
  int32_t* counts;
  // [tokens, kDownParts, hidden]
  float* parts;
};

Workspace WorkspaceAt(const GatedFfn& ffn, size_t tokens, void* memory) {
  Workspace at{};
  at.gate = static_cast<float*>(memory);
  at.factors = at.gate + tokens * ffn.neurons;
  at.parts = at.factors + tokens * ffn.neurons;
  at.chosen = reinterpret_cast<int32_t*>(at.parts + tokens * kDownParts * ffn.hidden);
  at.counts = at.chosen + tokens * ffn.neurons;
  return at;
}

__device__ float AsFloat(float value) { return value; }
__device__ float AsFloat(__nv_bfloat16 value) { return __bfloat162float(value); }

// Two neighbours of a row, at an even entry of a row of even width.
__device__ float2 PairAt(const float* at) { return *reinterpret_cast<const float2*>(at); }
__device__ float2 PairAt(const __nv_bfloat16* at) { return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(at)); }

// Whether rows of this width can be read in pairs. The matrix itself starts where the device allocates it.
__device__ bool HasPairs(const void* data, size_t width, size_t entry) {
  return width % 2 == 0 && reinterpret_cast<size_t>(data) % (2 * entry) == 0;
}

// The product of a row and x, in every lane of the warp.
template <class Weight>
__device__ float RowProduct(const Weight* row, const float* x, size_t width, bool pairs) {
  const size_t lane = threadIdx.x % kWarp;
  float sum = 0;
  if (pairs) {
    for (size_t i = 2 * lane; i < width; i += 2 * kWarp) {
      const float2 weights = PairAt(row + i);
      sum = fmaf(weights.x, x[i], sum);
      sum = fmaf(weights.y, x[i + 1], sum);
    }
  } else {
    for (size_t i = lane; i < width; i += kWarp) sum = fmaf(AsFloat(row[i]), x[i], sum);
  }
  return WarpSum(sum);
}

__device__ float At(const float* values, size_t i) { return values == nullptr ? 0.0f : values[i]; }

__device__ bool IsInactive(const bool* active, size_t token) { return active != nullptr && !active[token]; }

__device__ float Activate(Activation activation, float x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + expf(-x));
    case Activation::kGeluTanh:
      return x / 2 * (1 + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
    case Activation::kGelu:
      return x / 2 * (1 + erff(x * 0.7071067811865476f));
    case Activation::kRelu:
    case Activation::kDrelu:
      // NaN stays.
      return x < 0 ? 0 : x;
  }
  return x;
}

// gate[token, neuron]: one warp for each neuron; blocks [neurons / kRowsPerBlock, tokens].
template <class Weight>
__global__ void GateKernel(GatedFfn ffn, GatedFfnTokens tokens, Workspace at) {
  const size_t token = blockIdx.y, neuron = size_t{blockIdx.x} * kRowsPerBlock + threadIdx.x / kWarp;
  if (neuron >= ffn.neurons || IsInactive(tokens.mask.active, token)) return;
  const Weight* const weights = static_cast<const Weight*>(ffn.gate.data);
  const size_t width = ffn.gate_inputs.count;
  const float* const x = tokens.stream.x + token * ffn.hidden + ffn.gate_inputs.first;
  const float product = RowProduct(weights + neuron * width, x, width, HasPairs(weights, width, sizeof(Weight)));
  if (threadIdx.x % kWarp == 0) at.gate[token * ffn.neurons + neuron] = product + At(ffn.gate_bias, neuron);
}

// The limit for a gate or a score: the same for all neurons of a token.
__device__ float Limit(const GatedFfn& ffn, const float* gate) {
  if (IsStatistical(ffn.choice)) return StatisticalThreshold(gate, ffn.neurons, ffn.quantile);
  if (ffn.choice.cut != Cut::kMean) return ffn.threshold;
  float sum = 0;
  for (size_t j = threadIdx.x; j < ffn.neurons; j += kRowThreads)
    sum += fabsf(Activate(ffn.activation, gate[j])) * ffn.score_weights[j];
  return ffn.threshold * (BlockSum(sum) / static_cast<float>(ffn.neurons));
}

struct Chosen {
  bool is_chosen;
  float act;
};

__device__ Chosen Choose(const GatedFfn& ffn, float gate, size_t neuron, float limit) {
  // NaN is chosen, so that it shows.
  if (IsStatistical(ffn.choice))
    return {!(gate < limit), Activate(ffn.activation, ffn.choice.mode == TopKMode::kSoft ? gate - limit : gate)};
  const float act = Activate(ffn.activation, gate);
  const float size = fabsf(act), weight = ffn.score_weights[neuron];
  // A limit that is the same for all tokens is divided by the weights, as in the body.
  return {!(IsRelative(ffn.choice) ? size * weight < limit : size < limit / fmaxf(weight, FLT_MIN)), act};
}

// Chosen neurons of a token, in order, and their activations: one block for each token.
__global__ void __launch_bounds__(kRowThreads) ChooseKernel(GatedFfn ffn, GatedFfnTokens tokens, Workspace at) {
  __shared__ int warp_counts[kRowThreads / kWarp];
  const size_t token = blockIdx.x;
  if (IsInactive(tokens.mask.active, token)) {
    if (threadIdx.x == 0) at.counts[token] = 0;
    return;
  }
  const float* const gate = at.gate + token * ffn.neurons;
  int32_t* const chosen = at.chosen + token * ffn.neurons;
  float* const factors = at.factors + token * ffn.neurons;
  const bool all = !Chooses(ffn.choice) || tokens.choose_all;
  const float limit = all ? 0.0f : Limit(ffn, gate);
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int before = 0;
  for (size_t start = 0; start < ffn.neurons; start += kRowThreads) {
    const size_t neuron = start + threadIdx.x;
    Chosen choice{false, 0};
    if (neuron < ffn.neurons)
      choice = all ? Chosen{true, Activate(ffn.activation, gate[neuron])} : Choose(ffn, gate[neuron], neuron, limit);
    const unsigned ballot = __ballot_sync(kAllLanes, choice.is_chosen);
    if (lane == 0) warp_counts[warp] = __popc(ballot);
    __syncthreads();
    int at_warp = before;
    for (unsigned w = 0; w < warp; ++w) at_warp += warp_counts[w];
    if (choice.is_chosen) {
      const int rank = at_warp + __popc(ballot & ((1u << lane) - 1));
      chosen[rank] = static_cast<int32_t>(neuron);
      factors[rank] = choice.act;
    }
    for (unsigned w = 0; w < kRowThreads / kWarp; ++w) before += warp_counts[w];
    __syncthreads();
  }
  if (threadIdx.x == 0) at.counts[token] = before;
}

// factors[token, rank] *= up x. Warps take the token's chosen neurons in turn; blocks [kUpBlocks, tokens].
template <class Weight>
__global__ void UpKernel(GatedFfn ffn, GatedFfnTokens tokens, Workspace at) {
  const size_t token = blockIdx.y, first = size_t{blockIdx.x} * kRowsPerBlock + threadIdx.x / kWarp;
  const size_t count = static_cast<size_t>(at.counts[token]), width = ffn.up_inputs.count;
  const Weight* const weights = static_cast<const Weight*>(ffn.up.data);
  const bool pairs = HasPairs(weights, width, sizeof(Weight));
  const float* const x = tokens.stream.x + token * ffn.hidden + ffn.up_inputs.first;
  for (size_t rank = first; rank < count; rank += size_t{gridDim.x} * kRowsPerBlock) {
    const size_t neuron = static_cast<size_t>(at.chosen[token * ffn.neurons + rank]);
    const float product = RowProduct(weights + neuron * width, x, width, pairs);
    if (threadIdx.x % kWarp == 0) at.factors[token * ffn.neurons + rank] *= UpFactor(ffn, neuron, product);
  }
}

// parts[token, part, column]: chosen rows of `down` times their factors. Blocks [hidden / kWarp, kDownParts, tokens] of
// kWarp columns and kRowsPerBlock rows.
template <class Weight>
__global__ void DownKernel(GatedFfn ffn, Workspace at) {
  __shared__ float sums[kRowsPerBlock][kWarp];
  const size_t token = blockIdx.z, column = size_t{blockIdx.x} * kWarp + threadIdx.x;
  const size_t count = static_cast<size_t>(at.counts[token]);
  const Weight* const weights = static_cast<const Weight*>(ffn.down.data);
  const int32_t* const chosen = at.chosen + token * ffn.neurons;
  const float* const factors = at.factors + token * ffn.neurons;
  float sum = 0;
  if (column < ffn.hidden)
    for (size_t rank = blockIdx.y * kRowsPerBlock + threadIdx.y; rank < count; rank += kDownParts * kRowsPerBlock)
      sum = fmaf(factors[rank], AsFloat(weights[static_cast<size_t>(chosen[rank]) * ffn.hidden + column]), sum);
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= ffn.hidden) return;
  for (int row = 1; row < kRowsPerBlock; ++row) sum += sums[row][threadIdx.x];
  at.parts[(token * kDownParts + blockIdx.y) * ffn.hidden + column] = sum;
}

// y, and the other outputs that are wanted: one block for each token.
__global__ void __launch_bounds__(kRowThreads) FinishKernel(GatedFfn ffn, GatedFfnTokens tokens, Workspace at) {
  const size_t token = blockIdx.x;
  float* const y = tokens.y + token * ffn.hidden;
  const bool inactive = IsInactive(tokens.mask.active, token);
  float squares = 0;
  for (size_t i = threadIdx.x; i < ffn.hidden; i += kRowThreads) {
    float sum = inactive ? 0.0f : At(ffn.down_bias, i);
    for (int part = 0; part < kDownParts && !inactive; ++part) sum += at.parts[(token * kDownParts + part) * ffn.hidden + i];
    y[i] = sum;
    squares += sum * sum;
  }
  if (threadIdx.x == 0) {
    if (tokens.kept != nullptr) tokens.kept[token] = at.counts[token];
    if (tokens.mask.saturation != nullptr && inactive) tokens.mask.saturation[token] = 0;
  }
  if (inactive) return;
  if (ffn.post_norm.weight != nullptr) {
    const float scale = rsqrtf(BlockSum(squares) / static_cast<float>(ffn.hidden) + ffn.post_norm.epsilon);
    for (size_t i = threadIdx.x; i < ffn.hidden; i += kRowThreads) y[i] *= scale * ffn.post_norm.weight[i];
  }
  if (tokens.mask.saturation == nullptr) return;
  // Each thread reads the entries of y that it wrote.
  float product = 0, before = 0, after = 0;
  for (size_t i = threadIdx.x; i < ffn.hidden; i += kRowThreads) {
    const float h = tokens.mask.residual[token * ffn.hidden + i], sum = h + y[i];
    product += h * sum;
    before += h * h;
    after += sum * sum;
  }
  product = BlockSum(product);
  const float norms = sqrtf(BlockSum(before)) * sqrtf(BlockSum(after));
  if (threadIdx.x == 0) tokens.mask.saturation[token] = norms == 0 ? 0.0f : product / norms;
}

unsigned Ceiling(size_t count, size_t step) { return static_cast<unsigned>((count + step - 1) / step); }

template <class Weight>
cudaError_t Run(const GatedFfn& ffn, const GatedFfnTokens& tokens, const Workspace& at, cudaStream_t stream) {
  const unsigned count = static_cast<unsigned>(tokens.stream.tokens);
  const unsigned threads = kRowsPerBlock * kWarp;
  GateKernel<Weight><<<dim3(Ceiling(ffn.neurons, kRowsPerBlock), count), threads, 0, stream>>>(ffn, tokens, at);
  ChooseKernel<<<count, kRowThreads, 0, stream>>>(ffn, tokens, at);
  UpKernel<Weight><<<dim3(kUpBlocks, count), threads, 0, stream>>>(ffn, tokens, at);
  const dim3 columns(Ceiling(ffn.hidden, kWarp), kDownParts, count);
  DownKernel<Weight><<<columns, dim3(kWarp, kRowsPerBlock), 0, stream>>>(ffn, at);
  FinishKernel<<<count, kRowThreads, 0, stream>>>(ffn, tokens, at);
  return cudaGetLastError();
}

// The most tokens in one launch: the limit of the second and third dimension of a grid.
constexpr size_t kMostTokens = 65535;

// `tokens` from `first` on, `count` of them.
GatedFfnTokens Some(const GatedFfnTokens& tokens, size_t hidden, size_t first, size_t count) {
  GatedFfnTokens some = tokens;
  Mask& mask = some.mask;
  some.stream.tokens = count;
  some.stream.x += first * hidden;
  some.y += first * hidden;
  if (mask.active != nullptr) mask.active += first;
  if (mask.residual != nullptr) mask.residual += first * hidden;
  if (mask.saturation != nullptr) mask.saturation += first;
  if (some.kept != nullptr) some.kept += first;
  return some;
}

}  // namespace

size_t GatedFfnWorkspace(const GatedFfn& ffn, size_t tokens) {
  const size_t together = tokens < kMostTokens ? tokens : kMostTokens;
  return together * (3 * ffn.neurons + kDownParts * ffn.hidden + 1) * sizeof(float);
}

cudaError_t RunGatedFfn(const GatedFfn& ffn, const GatedFfnTokens& tokens, void* workspace, cudaStream_t stream) {
  const MeasureFacts& facts = FactsOf(ffn.choice);
  const bool by_gate = !Chooses(ffn.choice) || (facts.is_product && !facts.gate_rows && facts.up_rows);
  if (!by_gate || ffn.norm.weight != nullptr) return cudaErrorNotSupported;
  for (size_t first = 0; first < tokens.stream.tokens; first += kMostTokens) {
    const size_t left = tokens.stream.tokens - first, count = left < kMostTokens ? left : kMostTokens;
    const GatedFfnTokens some = Some(tokens, ffn.hidden, first, count);
    const Workspace at = WorkspaceAt(ffn, count, workspace);
    cudaError_t error = cudaErrorNotSupported;
    if (ffn.storage == Storage::kFp32) error = Run<float>(ffn, some, at, stream);
    if (ffn.storage == Storage::kBf16) error = Run<__nv_bfloat16>(ffn, some, at, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace lacuna::cuda
