/** How far a converted model may be from its checkpoint, by precision, and the verdict. */
import { percent } from '../core/figures.ts';
import { FLOATS, type PrecisionName, precisionNamed } from '../core/precision.ts';
import type { Verification, VerificationFigures } from '../core/verification.ts';
import { addRows, type RowTally, type Tallies } from './verify.ts';

type Limits = Verification['limits'];

/** `isBfloat16`: the checkpoint's matrices are bfloat16, so storing them as bfloat16 rounds nothing. */
export function limitsOf(precision: PrecisionName, isBfloat16: boolean): Limits {
  const isExact = precisionNamed(precision).linear.kind === 'widened' && isBfloat16;
  return precisionNamed(isExact ? FLOATS : precision).limits;
}

export type Judgement = Pick<Verification, 'all' | 'prefill' | 'decode' | 'limits' | 'passed' | 'failures'>;

/** The verdict on a model that cannot be measured. */
export function failed(reason: string, limits: Limits): Judgement {
  return { all: null, prefill: null, decode: null, limits, passed: false, failures: [reason] };
}

/** The verdict on all rows of all prompts. */
export function judge({ prefill, decode }: Tallies, limits: Limits): Judgement {
  const total = addRows(prefill, decode);
  const all = figuresOf(total);
  const failures = broken(all, total, limits);
  const passed = failures.length === 0;
  return { all, prefill: figuresOf(prefill), decode: figuresOf(decode), limits, passed, failures };
}

function figuresOf({ rows, difference, largest, kl, agreed }: RowTally): VerificationFigures {
  const count = Math.max(1, rows);
  return {
    rows,
    // A model of zeros gives nothing to divide by.
    relativeDifference: largest === 0 ? difference : difference / largest,
    meanKl: kl / count,
    top1Agreement: agreed / count,
  };
}

function broken(all: VerificationFigures, { lead, largest }: RowTally, limits: Limits): string[] {
  const { relativeDifference, meanKl, top1Agreement } = limits;
  const failures: string[] = [];
  if (relativeDifference !== undefined && !(all.relativeDifference <= relativeDifference))
    failures.push(
      `Logits differ by ${shown(all.relativeDifference)} of the largest, more than ${shown(relativeDifference)}.`,
    );
  if (meanKl !== undefined && !(all.meanKl <= meanKl))
    failures.push(`The mean KL divergence is ${shown(all.meanKl)} nats, more than ${shown(meanKl)}.`);
  // Two logits that are each off by the limit may change places. Such a tie counts as the same answer.
  const isTie = relativeDifference !== undefined && lead <= 2 * relativeDifference * largest;
  if (top1Agreement !== undefined && !(all.top1Agreement >= top1Agreement) && !(top1Agreement === 1 && isTie))
    failures.push(
      `The likeliest token is the same at ${percent(all.top1Agreement)} of the rows, fewer than ${percent(top1Agreement)}.`,
    );
  return failures;
}

function shown(figure: number): string {
  return figure.toPrecision(2);
}
