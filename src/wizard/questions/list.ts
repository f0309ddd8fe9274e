/** The questions in the order in which they are asked. A new one is a file and a line here. */
import type { Asked } from '../question.ts';
import { begin } from './begin.ts';
import { budget } from './budget.ts';
import { changeOf } from './change.ts';
import { checkpoint } from './checkpoint.ts';
import { download } from './download.ts';
import { dtype } from './dtype.ts';
import { goal } from './goal.ts';
import { host } from './host.ts';
import { layers } from './layers.ts';
import { measure } from './measure.ts';
import { output } from './output.ts';
import { refused } from './refused.ts';
import { replace } from './replace.ts';
import { setting } from './setting.ts';
import { share } from './share.ts';
import { choose, fit, test } from './text-files.ts';
import { texts } from './texts.ts';

/** What can be changed at the end. */
const CHANGEABLE = [checkpoint, goal, host, dtype, texts, budget, output, setting];

export const QUESTIONS: readonly Asked[] = [
  refused,
  checkpoint,
  download,
  goal,
  host,
  dtype,
  texts,
  fit,
  choose,
  test,
  budget,
  output,
  replace,
  share,
  measure,
  layers,
  setting,
  changeOf(CHANGEABLE),
  begin,
];
