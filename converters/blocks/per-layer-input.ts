/** Gemma 3n's second embedding: a row of a token has a part for each layer, so a layer reads its part and no more. */
import { attr } from '../../src/core/graph.ts';
import type { GraphBuilder } from '../../src/core/graph-builder.ts';
import { PER_LAYER_EMBEDDING_WEIGHT, PER_LAYER_IDS } from '../../src/core/model.ts';
import { cast, multiplyConstant } from '../../src/core/tensor.ts';
import { activate } from './activation.ts';
import type { Gemma3nParts } from './altup.ts';
import { lookUpScaled } from './embedding.ts';
import { linear } from './product.ts';
import { rmsNorm } from './rms-norm.ts';

/** Layer `index`'s part, float [b, s, per layer]. */
export function perLayerInput(index: number): string {
  return `layers.${index}.per_layer_input`;
}

/**
 * From input_ids and x [b, s, hidden], the embedded tokens: (norm(projection x / sqrt(hidden)) + sqrt(per layer) row) /
 * sqrt(2), a part for each layer. The table may be several gigabytes: only rows that are looked up are read, so a runtime
 * that maps the weights' file holds no more of it.
 */
export function perLayerInputs(g: GraphBuilder, x: string, parts: Gemma3nParts): void {
  const { config, weights, normWeights, floats } = parts;
  const { spec, perLayerSize, perLayerVocabulary } = config;
  const layers = spec.numHiddenLayers;
  const projected = linear(g, x, weights('model.per_layer_model_projection.weight'), undefined);
  const apart = g.op('Reshape', [projected, g.int64(0, 0, layers, perLayerSize)]);
  const norm = normWeights('model.per_layer_projection_norm.weight');
  // The projection is not divided by sqrt(hidden): the norm undoes that, but for its epsilon.
  const normed = rmsNorm(
    g,
    apart,
    { name: norm.name, data: cast(multiplyConstant(norm.data, Math.SQRT1_2), floats) },
    config.rmsNormEps * spec.hiddenSize,
  );
  // Tokens beyond the table, of other modalities, have the first row.
  const ids =
    perLayerVocabulary < spec.vocabSize
      ? g.op('Where', [g.op('Less', ['input_ids', g.int64Scalar(perLayerVocabulary)]), 'input_ids', g.int64Scalar(0)], {
          outputs: [PER_LAYER_IDS],
        })
      : g.op('Identity', ['input_ids'], { outputs: [PER_LAYER_IDS] });
  const scale = Math.sqrt(perLayerSize / 2);
  const row = lookUpScaled(g, ids, weights(PER_LAYER_EMBEDDING_WEIGHT), scale, g.fresh('row'));
  const sum = g.op('Add', [g.op('Reshape', [normed, g.int64(0, 0, layers * perLayerSize)]), row]);
  g.ops('Split', [sum], {
    attributes: { axis: attr.int(2), num_outputs: attr.int(layers) },
    outputs: Array.from({ length: layers }, (_, index) => perLayerInput(index)),
  });
}

/** x [b, s, hidden] and layer `index`'s part -> norm(projection(act(gate x) * part)), [b, s, hidden]. */
export function gatedPerLayerInput(g: GraphBuilder, x: string, index: number, parts: Gemma3nParts): string {
  const { config, weights, normWeights } = parts;
  const prefix = `model.layers.${index}`;
  const gate = linear(g, x, weights(`${prefix}.per_layer_input_gate.weight`), undefined);
  const act = activate(g, gate, config.activation, g.fresh('per_layer_act'));
  const gated = g.op('Mul', [act, perLayerInput(index)]);
  const projected = linear(g, gated, weights(`${prefix}.per_layer_projection.weight`), undefined);
  return rmsNorm(g, projected, normWeights(`${prefix}.post_per_layer_input_norm.weight`), config.rmsNormEps);
}
