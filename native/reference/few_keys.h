// Attention of one query to few of its keys (kernels/few_keys-inl.h) in plain loops.
#ifndef LACUNA_REFERENCE_FEW_KEYS_H_
#define LACUNA_REFERENCE_FEW_KEYS_H_

#include <cstddef>
#include <vector>

#include "reference/decoder.h"

namespace lacuna::reference {

// One head. Keys and values are floats, [visible, size].
struct FewKeys {
  size_t size = 0;
  size_t visible = 0;
  size_t attended = 0;
  float scale = 1;
  float softcap = 0;
  const float* query = nullptr;
  const float* keys = nullptr;
  const float* values = nullptr;
};

// Entries rounded to codes from -most to most, with a scale for each part of 64.
std::vector<double> CodedParts(const float* entries, size_t size, float most);

// The scores that the query in 8 bits has with keys in 4, and the error of float arithmetic.
Row PredictedScores(const FewKeys& head);

// The least score with which a token is attended to, if it is not chosen anyway.
double LeastOfShare(const Row& predicted);

// Whether the errors of predicted scores leave no doubt which of the largest ones predict that share.
bool IsSureOfShare(const FewKeys& head, const Row& predicted);

// Whether each token is attended to, by predicted scores.
std::vector<bool> Chosen(const FewKeys& head, const Row& predicted);

// What the query attends to, [size]: exactly to the chosen tokens, and to the others by their predicted scores and the mean of the
// values of all whole runs.
Row AttendedOf(const FewKeys& head, const Row& predicted, const std::vector<bool>& chosen);

}  // namespace lacuna::reference

#endif  // LACUNA_REFERENCE_FEW_KEYS_H_
