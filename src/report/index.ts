/** Report data -> a page. Whoever needs no page imports the data's shapes alone: this loads what draws charts. */
export { type Page, reportPage } from './page.ts';
