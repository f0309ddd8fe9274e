import { FLOATS, HOST_DTYPES, hasBlocks, precisionNamed } from '../../core/precision.ts';
import { SPARSE_PRECISIONS, type SparsePrecision } from '../../index.ts';
import { type Asked, choice } from '../question.ts';
import { isSparse, withAnswers } from '../state.ts';

/** Our kernels gain in every precision. Stock ONNX Runtime gathers rows of floats alone. */
export const dtype: Asked = {
  id: 'dtype',
  name: 'how weights are stored',
  needs: [],
  gives: ['dtype', 'setting'],
  isOpen: ({ answers }) => isSparse(answers) && answers.dtype === undefined,
  ask: ({ answers }) => ({
    kind: 'choice',
    message: 'How are weights stored?',
    choices: OFFERED.map((name) => choice(name, name)),
    default: answers.host === 'stock' ? FLOATS : OFFERED.find((name) => hasBlocks(precisionNamed(name))),
  }),
  answer: (state, given) => withAnswers(state, { dtype: OFFERED.find((name) => name === given) }),
};

/** Those whose speed processors have. */
const OFFERED: readonly SparsePrecision[] = SPARSE_PRECISIONS.filter((name) =>
  HOST_DTYPES.some((known) => known === name),
);
