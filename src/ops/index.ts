/** Operators of the `lacuna` domain: contracts, calling nodes and portable bodies. */
export { ACTIVATIONS, type Activation } from './activations.ts';
export { Bodies, type Body } from './bodies.ts';
export { bodyOf } from './body.ts';
export { contractOf, inputOf, OPERATOR_SET, OPERATORS, type OperatorName, operatorOf, outputOf } from './contract.ts';
export { ffnSkipStartBody, ffnSkipStartNode, ffnSkipStepBody, ffnSkipStepNode } from './ffn-skip.ts';
export { FFN_BLOCK_SIZE, type NeuronRows, neuronRecords } from './gated-ffn/block-storage.ts';
export { BLOCK_STORAGES, type BlockStorage, STORAGES, type Storage } from './gated-ffn/storages.ts';
export {
  choosesNeurons,
  countOf,
  type GatedFfnVariant,
  gatedFfnBody,
  gatedFfnNode,
  isForStorage,
  recordedBy,
  variantOfNode,
} from './gated-ffn.ts';
export {
  attendedOf,
  type SparkAttentionVariant,
  sparkAttentionBody,
  sparkAttentionNode,
  sparkAttentionNodes,
  sparkVariantOf,
} from './spark-attention.ts';
export { statisticalTopKBody, statisticalTopKNode } from './statistical-top-k.ts';
