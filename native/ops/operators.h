// The operators of the `lacuna` domain, by file. Op types are those of src/ops: one for every body that a model may hold.
#ifndef LACUNA_OPS_OPERATORS_H_
#define LACUNA_OPS_OPERATORS_H_

#include "ops/ort.h"

namespace lacuna {

void AddStatisticalTopK(ort::Operators& operators);
void AddGatedFfn(ort::Operators& operators);
void AddFfnSkip(ort::Operators& operators);
void AddSparkFfn(ort::Operators& operators);
void AddNormAttention(ort::Operators& operators);
void AddNormFfn(ort::Operators& operators);
void AddNormProduct(ort::Operators& operators);

}  // namespace lacuna

#endif  // LACUNA_OPS_OPERATORS_H_
