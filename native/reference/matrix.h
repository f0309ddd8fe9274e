// Rows of a matrix as numbers, and floats in a storage: by the definition of each, one entry at a time.
#ifndef LACUNA_REFERENCE_MATRIX_H_
#define LACUNA_REFERENCE_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/matrix.h"

namespace lacuna::reference {

std::vector<double> RowOf(Storage storage, const Matrix& matrix, size_t width, size_t row);
double ScaleOf(const Matrix& matrix, size_t width, size_t row, size_t block);

// Floats as float16, each rounded to the nearest.
std::vector<uint16_t> Fp16Of(const std::vector<float>& values);

// An input as products with blocks take it: each block's largest size is 127 steps, and all entries are rounded to
// whole steps.
std::vector<double> QuantisedEntries(const float* x, size_t count);

// Matrices in blocks with equally many rows, joined into records that own their bytes.
class StoredRecords {
 public:
  struct Part {
    Matrix matrix;
    RecordPart part;
  };
  // The padding of a record is 255. `offset` misaligns them, in scales.
  StoredRecords(size_t rows, const std::vector<Part>& parts, size_t offset = 0);

  Matrix matrix(size_t part) const;

 private:
  RecordLayout layout_;
  std::vector<Part> parts_;
  std::vector<size_t> offsets_;
  // In elements of the size of a scale.
  std::vector<uint16_t> bytes_;
  size_t offset_;
};

// For a matrix in two planes of int4: upper + lower / 16.
enum class Plane { kUpper, kLower };

// A matrix that owns its bytes. `offset` misaligns data and scales, in entries.
class StoredMatrix {
 public:
  // Rounds `values` [rows, width] to the nearest value of the storage. A block's largest value gets the largest code,
  // with a scale that float16 can hold.
  StoredMatrix(Storage storage, const std::vector<float>& values, size_t width, size_t offset = 0);
  // A plane of `values`; both are int4. A block's largest value is 119 sixteenths of the scale, which both planes
  // share, so that their codes can reach all other values. The upper plane is rounded to the nearest.
  StoredMatrix(Plane plane, const std::vector<float>& values, size_t width, size_t offset = 0);

  Matrix matrix() const;
  // The values before rounding.
  const std::vector<float>& values() const { return values_; }
  size_t width() const { return width_; }
  // Makes all entries of a row NaN.
  void Poison(size_t row);
  // Every stored value by its absolute size.
  StoredMatrix Sizes() const;

 private:
  // The codes (with zero in the middle) and the scale of a further block, and the row of the blocks so far.
  void AddBlock(const int* codes, size_t count, uint16_t scale);
  void AddRow();
  // Calls add(block, count, largest size) for the blocks of all rows.
  template <class Add>
  void ForBlocks(Add add);

  Storage storage_;
  size_t width_, rows_, offset_;
  std::vector<float> values_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
  // Codes of the row that is being added.
  std::vector<int> row_;
  std::vector<uint8_t> codes_;
  std::vector<uint16_t> scales_;
};

}  // namespace lacuna::reference

#endif  // LACUNA_REFERENCE_MATRIX_H_
