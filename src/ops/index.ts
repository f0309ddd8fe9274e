/** Operators of the `lacuna` domain: contracts, calling nodes and portable bodies. */
export { ACTIVATIONS, type Activation } from './activations.ts';
export { castTo } from './body.ts';
export { contractOf, OPERATORS, type OperatorName } from './contract.ts';
export {
  ffnSkipStartFunction,
  ffnSkipStartNode,
  ffnSkipStartOpType,
  ffnSkipStepFunction,
  ffnSkipStepNode,
  ffnSkipStepOpType,
} from './ffn-skip.ts';
export { FFN_BLOCK_SIZE } from './gated-ffn/block-storage.ts';
export { GATHER_SHARE } from './gated-ffn/neurons.ts';
export { type NeuronRows, neuronRecords } from './gated-ffn/records.ts';
export { SELECTORS, type SelectorChoice } from './gated-ffn/selectors.ts';
export { STORAGES, type Storage } from './gated-ffn/storages.ts';
export {
  choosesNeurons,
  countedNode,
  countOf,
  type GatedFfnVariant,
  gatedFfnFunction,
  gatedFfnNode,
  gatedFfnOpType,
  recordedBy,
} from './gated-ffn.ts';
export {
  SPARK_RECORDED,
  type SparkFfnVariant,
  sparkFfnFunction,
  sparkFfnNode,
  sparkFfnOpType,
} from './spark-ffn.ts';
export { statisticalTopKFunction, statisticalTopKOpType, TOP_K_MODES, type TopKMode } from './statistical-top-k.ts';
