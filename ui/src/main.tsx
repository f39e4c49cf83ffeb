import { render } from 'preact';
import { App } from './app';
import { opening } from './api/ahead';
import 'uplot/dist/uPlot.min.css';
import './css/page.css';

opening.drawn = true;
render(<App />, document.getElementById('page')!);
