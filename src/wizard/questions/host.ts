import { type Asked, choice } from '../question.ts';
import { factOf, withAnswers } from '../state.ts';

/** Answered by itself where the native core is not installed (find.ts). */
export const host: Asked = {
  id: 'host',
  name: 'where it decodes',
  needs: ['machine'],
  gives: ['host', 'dtype', 'setting'],
  isOpen: (state) => state.answers.host === undefined && factOf(state, 'machine')?.hasNative === true,
  ask: () => ({
    kind: 'choice',
    message: 'Where is it to decode?',
    choices: [
      choice('native', 'In the native core, which is installed here', 'in the native core'),
      choice('stock', 'In stock ONNX Runtime, without our kernels', 'in stock ONNX Runtime'),
    ],
  }),
  answer: (state, given) => withAnswers(state, { host: given === 'stock' ? 'stock' : 'native' }),
};
