#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm_product.cc"
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

class NormProductJob : public PhasedJob {
 public:
  NormProductJob(const NormProduct& part, const Stream& stream, float* y, Scratch& scratch, size_t most_workers)
      : PhasedJob(stream.tokens, 2, stream.tokens * part.weight.rows * part.weight.columns, most_workers),
        part_(part),
        products_(ProductsOf(part.storage)),
        stream_(stream),
        y_(y),
        rows_(RowsAnItem(part.weight.rows, kRows)),
        arrays_(Place<Arrays>(scratch, *this)) {
    Number([this](size_t phase, const TokenBlock& block) {
      return DivideUp(phase == kPrepare ? block.count : part_.weight.rows, phase == kPrepare ? kTokens : rows_);
    });
  }

  void Item(size_t phase, const TokenBlock& block, size_t item, size_t) {
    const size_t rows = part_.weight.rows;
    if (phase == kPrepare) {
      return ForTokens(block, item, [this](size_t token, size_t t) {
        const size_t hidden = part_.weight.columns;
        float* normed = arrays_.normed + t * hidden;
        NormaliseStream(part_.norm, stream_, token, hidden, normed);
        products_.Code(normed, hidden, arrays_.input, t);
      });
    }
    const size_t first = item * rows_, count = std::min(rows_, rows - first);
    float* y = y_ + block.first * rows + first;
    products_.Multiply(part_.weight, first, count, arrays_.input, 0, block.count, y, rows);
    if (part_.softcap == 0) return;
    for (size_t t = 0; t < block.count; ++t, y += rows)
      Fill(count, y, [&](auto load) HWY_ATTR { return SoftCapped(hn::ScalableTag<float>(), load(y), part_.softcap); });
  }

  void Fetch(size_t phase, size_t item) const {
    if (phase == kMultiply) products_.Fetch(part_.weight, item * rows_);
  }

 private:
  enum Phase { kPrepare, kMultiply };
  // An item's rows are whole multiples of it.
  static constexpr size_t kRows = 64;

  struct Arrays {
    Arrays(const NormProductJob& job, ScratchLayout& layout)
        : normed(layout.Array<float>(job.most_tokens(), job.part_.weight.columns)),
          input(job.part_.storage, job.part_.weight.columns, job.most_tokens(), layout) {}

    // [tokens of a block, hidden]
    float* normed;
    CodedTokens input;
  };

  const NormProduct& part_;
  const StorageProducts products_;
  const Stream& stream_;
  float* y_;
  // Rows an item.
  const size_t rows_;
  const Arrays arrays_;
};

void RunProduct(const NormProduct& part, const Stream& stream, float* y, Scratch& scratch, const Parallel& parallel) {
  NormProductJob job(part, stream, y, scratch, parallel.workers);
  RunJob(job, parallel);
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(RunProduct);
}  // namespace

void RunNormProduct(const NormProduct& part, const Stream& stream, float* y, Scratch& scratch, const Parallel& parallel) {
  if (stream.tokens > 0) HWY_DYNAMIC_DISPATCH(RunProduct)(part, stream, y, scratch, parallel);
}

}  // namespace lacuna
#endif  // HWY_ONCE
