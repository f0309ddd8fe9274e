/** Makes pages. What draws them is loaded with the first one: no other command waits for it. */
import type { ReportData } from '../../report/data.ts';
import type { Page } from '../../report/index.ts';

export async function makePage(data: ReportData): Promise<Page> {
  const { reportPage } = await import('../../report/index.ts');
  return reportPage(data);
}
