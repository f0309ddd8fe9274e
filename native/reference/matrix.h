// Rows of a matrix as numbers, and floats as a storage keeps them: by the definition of each, one entry at a time.
#ifndef LACUNA_REFERENCE_MATRIX_H_
#define LACUNA_REFERENCE_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/matrix.h"

namespace lacuna::reference {

std::vector<double> RowOf(Storage storage, const Matrix& matrix, size_t width, size_t row);

// An input as products with blocks take it: each block's largest size is 127 steps, all entries are rounded to whole ones.
std::vector<double> QuantisedEntries(const float* x, size_t count);

// Matrices of one storage in blocks and as many rows, joined into records that own their bytes.
class StoredRecords {
 public:
  struct Part {
    Matrix matrix;
    size_t width;
  };
  // What fills up a record is 255. `offset` misaligns them, in scales.
  StoredRecords(Storage storage, size_t rows, const std::vector<Part>& parts, size_t offset = 0);

  Matrix matrix(size_t part) const;

 private:
  RecordLayout layout_;
  std::vector<Part> parts_;
  std::vector<size_t> offsets_;
  // Scales are floats.
  std::vector<float> bytes_;
  size_t offset_;
};

// A matrix that owns its bytes. `offset` misaligns data and scales, in entries.
class StoredMatrix {
 public:
  // Rounds `values` [rows, width] to the nearest that the storage has; a block's largest value takes its largest code.
  StoredMatrix(Storage storage, const std::vector<float>& values, size_t width, size_t offset = 0);

  Matrix matrix() const;
  // As they were before they were rounded.
  const std::vector<float>& values() const { return values_; }
  size_t width() const { return width_; }
  // Makes all entries of a row what is not a number.
  void Poison(size_t row);
  // Every stored value by its size.
  StoredMatrix Sizes() const;

 private:
  Storage storage_;
  size_t width_, rows_, offset_;
  std::vector<float> values_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
  std::vector<uint8_t> codes_;
  std::vector<float> scales_;
};

}  // namespace lacuna::reference

#endif  // LACUNA_REFERENCE_MATRIX_H_
