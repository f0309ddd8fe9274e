/** The measures of src/core/choice.ts as bodies compute them, in order: a new one is a file beside this and a line here. */
import type { MeasureName, NeuronChoice } from '../../core/choice.ts';
import { activation } from './activation.ts';
import { gate } from './gate.ts';
import { nested } from './nested.ts';
import { predicted } from './predicted.ts';
import { product } from './product.ts';
import type { Measure } from './selection.ts';

const BY_NAME: Readonly<Record<MeasureName, Measure>> = { gate, activation, product, predicted, nested };

export function measureOf({ measure }: NeuronChoice): Measure {
  return BY_NAME[measure];
}
