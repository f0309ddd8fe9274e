/** The sections of a page, in their order. A new one is a file and a line here. */
import type { Section } from '../section.ts';
import { activations } from './activations.ts';
import { inputPeaks } from './input-peaks.ts';
import { keptEnergy } from './kept-energy.ts';
import { losses } from './losses.ts';
import { planSection } from './plan.ts';
import { productLoss } from './product-loss.ts';
import { definitions, provenance } from './provenance.ts';
import { qualitySpeed } from './quality-speed.ts';
import { realised } from './realised.ts';
import { sample } from './sample.ts';
import { saturation } from './saturation.ts';
import { search } from './search.ts';

export const SECTIONS: readonly Section[] = [
  qualitySpeed,
  search,
  losses,
  realised,
  saturation,
  keptEnergy,
  productLoss,
  activations,
  inputPeaks,
  planSection,
  sample,
  provenance,
  definitions,
];
