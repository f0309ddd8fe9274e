#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm_ffn.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/norm-inl.h"
#include "kernels/part-inl.h"
#include "kernels/storage_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

class NormFfnJob : public PhasedJob {
 public:
  NormFfnJob(const NormFfn& ffn, const Stream& stream, const Mask& mask, float* y, Scratch& scratch, size_t most_workers)
      : PhasedJob(stream.tokens, IsFinished(ffn, mask) ? 4 : 3, stream.tokens * 3 * ffn.gate.rows * ffn.gate.columns,
                most_workers),
        ffn_(ffn),
        products_(ProductsOf(ffn.storage)),
        stream_(stream),
        mask_(mask),
        y_(y),
        hidden_(ffn.down.rows),
        neurons_(RowsAnItem(ffn.gate.rows, kNeurons)),
        rows_(RowsAnItem(ffn.down.rows, kRows)),
        arrays_(Place<Arrays>(scratch, *this)) {
    Number([this](size_t phase, const TokenBlock& block) {
      switch (phase) {
        case kGateUp:
          return DivideUp(ffn_.gate.rows, neurons_);
        case kDown:
          return DivideUp(hidden_, rows_);
        default:
          return DivideUp(block.count, kTokens);
      }
    });
  }

  void Item(size_t phase, const TokenBlock& block, size_t item, size_t) {
    switch (phase) {
      case kPrepare:
        return ForTokens(block, item, [this](size_t token, size_t t) {
          const float* x = stream_.x + token * hidden_;
          if (ffn_.norm.weight != nullptr) {
            float* normed = arrays_.normed + t * hidden_;
            NormaliseStream(ffn_.norm, stream_, token, hidden_, normed);
            x = normed;
          }
          products_.Code(x, hidden_, arrays_.input, t);
        });
      case kGateUp:
        for (size_t first = item * neurons_; first < std::min(ffn_.gate.rows, (item + 1) * neurons_); first += kNeurons)
          GateUp(block, first);
        return;
      case kDown: {
        const size_t first = item * rows_;
        return products_.Multiply(ffn_.down, first, std::min(rows_, hidden_ - first), arrays_.product, 0, block.count,
                                  y_ + block.first * hidden_ + first, hidden_);
      }
      case kFinish:
        return ForTokens(block, item, [this](size_t token, size_t) { Finish(token); });
    }
  }

  void Fetch(size_t phase, size_t item) const {
    if (phase == kGateUp) {
      products_.Fetch(ffn_.gate, item * neurons_);
      products_.Fetch(ffn_.up, item * neurons_);
    }
    if (phase == kDown) products_.Fetch(ffn_.down, item * rows_);
  }

 private:
  enum Phase { kPrepare, kGateUp, kDown, kFinish };
  static bool IsFinished(const NormFfn& ffn, const Mask& mask) {
    return ffn.post_norm.weight != nullptr || mask.active != nullptr || mask.saturation != nullptr;
  }
  // Neurons that are computed together: two blocks of the input of `down`. An item is a multiple of these neurons, or of
  // kRows rows of `down`.
  static constexpr size_t kNeurons = 2 * kBlock;
  static constexpr size_t kRows = 16;

  struct Arrays {
    Arrays(const NormFfnJob& job, ScratchLayout& layout)
        : normed(layout.Array<float>(job.most_tokens(), job.hidden_)),
          input(job.ffn_.storage, job.hidden_, job.most_tokens(), layout),
          product(job.ffn_.storage, job.ffn_.gate.rows, job.most_tokens(), layout) {}

    // [tokens of a block, hidden]
    float* normed;
    CodedTokens input;
    // act(gate) * up.
    CodedTokens product;
  };

  // act(gate) * up for some neurons and all tokens of a block, coded.
  void GateUp(const TokenBlock& block, size_t first) const {
    const size_t neurons = ffn_.gate.rows;
    const size_t count = std::min(kNeurons, neurons - first);
    float gates[kTokenBlock * kNeurons], ups[kTokenBlock * kNeurons];
    products_.Multiply(ffn_.gate, first, count, arrays_.input, 0, block.count, gates, kNeurons);
    products_.Multiply(ffn_.up, first, count, arrays_.input, 0, block.count, ups, kNeurons);
    const hn::ScalableTag<float> d;
    for (size_t t = 0; t < block.count; ++t) {
      float* gate = gates + t * kNeurons;
      const float* up = ups + t * kNeurons;
      // Past the last neuron are zeros, as a block that is not full is coded.
      std::fill(gate + count, gate + kNeurons, 0.0f);
      const bool activates_up = ffn_.activation == Activation::kDrelu;
      Fill(count, gate, [&](auto load) HWY_ATTR {
        const auto factor = activates_up ? Activate(d, Activation::kRelu, load(up)) : load(up);
        return hn::Mul(Activate(d, ffn_.activation, load(gate)), factor);
      });
      const CodedInput place = arrays_.product.At(t);
      for (size_t i = 0; i < count; i += kBlock) products_.CodeBlock(gate + i, (first + i) / kBlock, place);
      if (first + count == neurons) products_.FillUp(neurons, place);
    }
  }

  // What needs a token's whole y.
  void Finish(size_t token) const {
    float* y = y_ + token * hidden_;
    if (!mask_.IsActive(token)) return LeaveOut({}, mask_, token, hidden_, y_);
    if (ffn_.post_norm.weight != nullptr) Normalise(ffn_.post_norm, y, hidden_, y);
    if (mask_.saturation != nullptr)
      mask_.saturation[token] = SaturationOf(mask_.residual + token * hidden_, y, hidden_);
  }

  const NormFfn& ffn_;
  const StorageProducts products_;
  const Stream& stream_;
  const Mask& mask_;
  float* y_;
  const size_t hidden_;
  // Neurons and rows of `down` an item.
  const size_t neurons_;
  const size_t rows_;
  const Arrays arrays_;
};

void RunFfn(const NormFfn& ffn, const Stream& stream, const Mask& mask, float* y, Scratch& scratch,
            const Parallel& parallel) {
  NormFfnJob job(ffn, stream, mask, y, scratch, parallel.workers);
  RunJob(job, parallel);
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(RunFfn);
}  // namespace

void RunNormFfn(const NormFfn& part, const Stream& stream, const Mask& mask, float* y, Scratch& scratch,
                const Parallel& parallel) {
  bool any = false;
  for (size_t token = 0; token < stream.tokens; ++token) any = any || mask.IsActive(token);
  if (any) return HWY_DYNAMIC_DISPATCH(RunFfn)(part, stream, mask, y, scratch, parallel);
  for (size_t token = 0; token < stream.tokens; ++token) LeaveOut(stream, mask, token, part.down.rows, y);
}

}  // namespace lacuna
#endif  // HWY_ONCE
