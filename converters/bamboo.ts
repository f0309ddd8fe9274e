/** Bamboo and TurboSparse-Mistral (Song et al. 2024): Mistral whose FFNs activate both gate and up (dReLU). */
import { mistralFamily } from './mistral.ts';
import { renamed } from './renamed.ts';

export const bamboo = renamed({
  modelType: 'bamboo',
  className: 'BambooForCausalLM',
  family: { ...mistralFamily, thresholds: false, traits: { activatesUp: true } },
  leavesOut: {
    tensors: /^model\.layers\.\d+\.mlp\.predictor\./,
    note: 'Predictors of neurons are left out: the model computes all neurons, which is what predictors come near.',
  },
});
