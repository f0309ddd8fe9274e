/** The parts of ECharts that pages use. Nothing else imports ECharts, so a bundle holds these parts alone. */
import { BarChart, CustomChart, LineChart, ScatterChart } from 'echarts/charts';
import { GridComponent, MarkLineComponent } from 'echarts/components';
import { init, use } from 'echarts/core';
import { LabelLayout } from 'echarts/features';
import { SVGRenderer } from 'echarts/renderers';

use([SVGRenderer, LineChart, BarChart, ScatterChart, CustomChart, GridComponent, MarkLineComponent, LabelLayout]);

interface Size {
  readonly width: number;
  readonly height: number;
}

/** A chart as SVG, without a browser. */
export function renderSvg(option: object, { width, height }: Size): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height });
  try {
    chart.setOption({ animation: false, ...option });
    return chart.renderToSVGString();
  } finally {
    chart.dispose();
  }
}
