#include "reference/matrix.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace lacuna::reference {
namespace {

int MiddleOf(Storage storage) { return 1 << (CodeBits(storage) - 1); }

// Of a row of int4: the even one of two neighbours is the low half of a byte.
int HalfAt(const uint8_t* bytes, size_t i) { return i % 2 == 0 ? bytes[i / 2] & 15 : bytes[i / 2] >> 4; }

// Code i of a row of that many blocks.
int CodeAt(Storage storage, const uint8_t* row, size_t blocks, size_t i) {
  if (storage == Storage::kInt8) return row[i];
  if (storage == Storage::kInt4) return HalfAt(row, i);
  const size_t half = kBlock / 2, block = i / kBlock, is_last = i % kBlock / half;
  const size_t place = block * half + i % half;
  const size_t plane_bits = blocks * kBlock, bit = place + is_last * plane_bits / 2;
  int code = row[UpperPlanes(storage) * plane_bits / 8 + place] >> 4 * is_last & 15;
  for (size_t plane = 0; plane < UpperPlanes(storage); ++plane)
    code |= (row[(plane * plane_bits + bit) / 8] >> bit % 8 & 1) << (4 + plane);
  return code;
}

int ZeroOf(Storage storage, const Matrix& matrix, size_t width, size_t row, size_t block) {
  if (matrix.zero_points == nullptr) return MiddleOf(storage);
  const uint8_t* const zeros = matrix.zero_points + row * ZeroPointBytes(storage, width);
  if (storage == Storage::kInt4) return HalfAt(zeros, block);
  return zeros[block] - 128 + MiddleOf(storage);
}

const uint8_t* CodesOf(Storage storage, const Matrix& matrix, size_t blocks, size_t row) {
  const size_t stride = matrix.stride == 0 ? blocks * BlockBytes(storage) : matrix.stride;
  return static_cast<const uint8_t*>(matrix.data) + row * stride;
}

const uint16_t* ScalesOf(const Matrix& matrix, size_t blocks, size_t row) {
  return matrix.scales + row * (matrix.scales_stride == 0 ? blocks : matrix.scales_stride / sizeof(uint16_t));
}

uint16_t ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

double FromBf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// To the nearest, ties to the even one. Below 2^-14 numbers are 2^-24 apart. Above, they are a 1024th of the power of
// two below them apart.
uint16_t ToFp16(float value) {
  const int sign = std::signbit(value) ? 0x8000 : 0;
  const double size = std::abs(static_cast<double>(value));
  if (!(size < 65536)) return static_cast<uint16_t>(sign | (std::isnan(value) ? 0x7e00 : 0x7c00));
  int exponent;
  std::frexp(size, &exponent);
  const int step = std::max(exponent - 11, -24);
  // Steps that round up to the next power of two carry into the exponent, which is right.
  return static_cast<uint16_t>(sign | (static_cast<int>(std::nearbyint(std::ldexp(size, -step))) + 1024 * (step + 24)));
}

// 2^exponent. Most of the tests' time would be that of std::ldexp.
double PowerOfTwo(int exponent) { return std::bit_cast<double>(static_cast<uint64_t>(1023 + exponent) << 52); }

double FromFp16(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  double size = exponent == 0 ? mantissa * PowerOfTwo(-24) : (1024 + mantissa) * PowerOfTwo(exponent - 25);
  if (exponent == 31) size = mantissa == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  return bits >> 15 != 0 ? -size : size;
}

// The nearest number of steps.
int StepsOf(float value, float step) { return step > 0 ? static_cast<int>(std::lround(value / step)) : 0; }

bool IsHalf(Storage storage) { return storage == Storage::kBf16 || storage == Storage::kFp16; }

uint16_t ToHalf(Storage storage, float value) { return storage == Storage::kBf16 ? ToBf16(value) : ToFp16(value); }

}  // namespace

double ScaleOf(const Matrix& matrix, size_t width, size_t row, size_t block) {
  return FromFp16(ScalesOf(matrix, Blocks(width), row)[block]);
}

std::vector<uint16_t> Fp16Of(const std::vector<float>& values) {
  std::vector<uint16_t> halves;
  for (float value : values) halves.push_back(ToFp16(value));
  return halves;
}

std::vector<double> RowOf(Storage storage, const Matrix& matrix, size_t width, size_t row) {
  std::vector<double> values(width);
  if (IsBlocked(storage)) {
    const uint8_t* codes = CodesOf(storage, matrix, Blocks(width), row);
    for (size_t block = 0; block < Blocks(width); ++block) {
      const double scale = ScaleOf(matrix, width, row, block);
      const int zero = ZeroOf(storage, matrix, width, row, block);
      const size_t first = block * kBlock;
      for (size_t i = first; i < std::min(width, first + kBlock); ++i)
        values[i] = scale * (CodeAt(storage, codes, Blocks(width), i) - zero);
    }
    return values;
  }
  const float* floats = static_cast<const float*>(matrix.data) + row * width;
  const uint16_t* halves = static_cast<const uint16_t*>(matrix.data) + row * width;
  for (size_t i = 0; i < width; ++i)
    values[i] = storage == Storage::kFp32 ? floats[i] : storage == Storage::kBf16 ? FromBf16(halves[i]) : FromFp16(halves[i]);
  return values;
}

std::vector<double> QuantisedEntries(const float* x, size_t count) {
  std::vector<double> entries(count);
  for (size_t first = 0; first < count; first += kBlock) {
    const size_t end = std::min(count, first + kBlock);
    float largest = 0;
    for (size_t i = first; i < end; ++i) largest = std::max(largest, std::abs(x[i]));
    const float scale = largest / 127, inverse = largest > 0 ? 127 / largest : 0;
    for (size_t i = first; i < end; ++i) entries[i] = static_cast<double>(scale) * std::nearbyint(x[i] * inverse);
  }
  return entries;
}

StoredRecords::StoredRecords(size_t rows, const std::vector<Part>& parts, size_t offset) : parts_(parts), offset_(offset) {
  size_t end = 0;
  for (const auto& [matrix, part] : parts) {
    layout_.Add(part);
    offsets_.push_back(std::exchange(end, end + part.Bytes()));
  }
  bytes_.resize(offset + rows * layout_.stride() / sizeof(uint16_t));
  uint8_t* const bytes = reinterpret_cast<uint8_t*>(bytes_.data() + offset);
  std::fill_n(bytes, rows * layout_.stride(), uint8_t{255});
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& [matrix, part] = parts[i];
    const size_t blocks = Blocks(part.width);
    for (size_t row = 0; row < rows; ++row) {
      uint8_t* const to = bytes + row * layout_.stride() + offsets_[i];
      std::copy_n(CodesOf(part.storage, matrix, blocks, row), part.CodeBytes(), to);
      if (part.has_scales) std::memcpy(to + part.CodeBytes(), ScalesOf(matrix, blocks, row), ScaleBytes(part.width));
    }
  }
}

Matrix StoredRecords::matrix(size_t part) const {
  Matrix recorded = layout_.At(bytes_.data() + offset_, offsets_[part], parts_[part].part);
  if (!parts_[part].part.has_scales) recorded.scales = parts_[part].matrix.scales;
  return recorded;
}

StoredMatrix::StoredMatrix(Storage storage, const std::vector<float>& values, size_t width, size_t offset)
    : storage_(storage), width_(width), rows_(width == 0 ? 0 : values.size() / width), offset_(offset), values_(values) {
  if (storage == Storage::kFp32) {
    floats_.resize(offset);
    floats_.insert(floats_.end(), values.begin(), values.end());
  }
  if (IsHalf(storage)) {
    halves_.resize(offset);
    for (float value : values) halves_.push_back(ToHalf(storage, value));
  }
  if (!IsBlocked(storage)) return;
  ForBlocks([&](const float* block, size_t count, float largest) {
    const uint16_t scale = ToFp16(largest / static_cast<float>(MiddleOf(storage) - 1));
    int codes[kBlock];
    for (size_t i = 0; i < count; ++i) codes[i] = StepsOf(block[i], static_cast<float>(FromFp16(scale)));
    AddBlock(codes, count, scale);
  });
}

StoredMatrix::StoredMatrix(Plane plane, const std::vector<float>& values, size_t width, size_t offset)
    : storage_(Storage::kInt4), width_(width), rows_(values.size() / width), offset_(offset), values_(values) {
  ForBlocks([&](const float* block, size_t count, float largest) {
    const uint16_t scale = ToFp16(16 * largest / 119);
    int codes[kBlock];
    for (size_t i = 0; i < count; ++i) {
      const int steps = StepsOf(block[i], static_cast<float>(FromFp16(scale) / 16));
      const int upper = (steps + 8) >> 4;
      codes[i] = plane == Plane::kUpper ? upper : steps - 16 * upper;
    }
    AddBlock(codes, count, scale);
  });
}

template <class Add>
void StoredMatrix::ForBlocks(Add add) {
  codes_.resize(offset_);
  scales_.resize(offset_);
  for (size_t row = 0; row < rows_; ++row) {
    for (size_t first = 0; first < width_; first += kBlock) {
      const size_t count = std::min(kBlock, width_ - first);
      const float* block = values_.data() + row * width_ + first;
      float largest = 0;
      for (size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(block[i]));
      add(block, count, largest);
    }
    AddRow();
  }
}

void StoredMatrix::AddBlock(const int* codes, size_t count, uint16_t scale) {
  scales_.push_back(scale);
  for (size_t i = 0; i < kBlock; ++i) row_.push_back(MiddleOf(storage_) + (i < count ? codes[i] : 0));
}

void StoredMatrix::AddRow() {
  const size_t first = codes_.size(), half = kBlock / 2, lower = UpperPlanes(storage_) * row_.size() / 8;
  codes_.resize(first + row_.size() * CodeBits(storage_) / 8);
  uint8_t* const to = codes_.data() + first;
  for (size_t i = 0; i < row_.size(); ++i) {
    const int code = row_[i];
    if (storage_ == Storage::kInt8) {
      to[i] = static_cast<uint8_t>(code);
    } else if (storage_ == Storage::kInt4) {
      to[i / 2] |= static_cast<uint8_t>(code << 4 * (i % 2));
    } else {
      const size_t is_last = i % kBlock / half, place = i / kBlock * half + i % half;
      to[lower + place] |= static_cast<uint8_t>((code & 15) << 4 * is_last);
      const size_t bit = place + is_last * row_.size() / 2;
      for (size_t plane = 0; plane < UpperPlanes(storage_); ++plane)
        to[(plane * row_.size() + bit) / 8] |= static_cast<uint8_t>((code >> (4 + plane) & 1) << bit % 8);
    }
  }
  row_.clear();
}

Matrix StoredMatrix::matrix() const {
  const void* data = codes_.data() + offset_;
  if (storage_ == Storage::kFp32) data = floats_.data() + offset_;
  if (IsHalf(storage_)) data = halves_.data() + offset_;
  return {data, IsBlocked(storage_) ? scales_.data() + offset_ : nullptr};
}

void StoredMatrix::Poison(size_t row) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  if (storage_ == Storage::kFp32) std::fill_n(floats_.begin() + static_cast<std::ptrdiff_t>(offset_ + row * width_), width_, nan);
  if (IsHalf(storage_))
    std::fill_n(halves_.begin() + static_cast<std::ptrdiff_t>(offset_ + row * width_), width_, ToHalf(storage_, nan));
  const size_t blocks = Blocks(width_);
  if (IsBlocked(storage_))
    std::fill_n(scales_.begin() + static_cast<std::ptrdiff_t>(offset_ + row * blocks), blocks, ToFp16(nan));
}

StoredMatrix StoredMatrix::Sizes() const {
  std::vector<float> sizes;
  for (size_t row = 0; row < rows_; ++row)
    for (double value : RowOf(storage_, matrix(), width_, row)) sizes.push_back(static_cast<float>(std::abs(value)));
  return StoredMatrix(Storage::kFp32, sizes, width_, offset_);
}

}  // namespace lacuna::reference
