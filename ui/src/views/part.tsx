import type { ComponentChildren } from 'preact';
import * as api from '../api/client';
import { Result } from '../parts/result';
import { useAnswer, type Answer } from '../state/answer';
import type { Page } from './page';

/** Asks for something that not every server has; undefined where there is no such thing. */
export function useOptional<T>(path: string, page: Page, params: api.Params = {}): Answer<T | undefined> {
  return useAnswer<T | undefined>(JSON.stringify([path, params, page.now]), (signal) =>
    api.get<T>(path, params, signal).catch((err: Error) => {
      if (err instanceof api.Failure && err.code === 'not_found') return undefined;
      throw err;
    }),
  );
}

interface PartProps<T> {
  title: string;
  answer: Answer<T | undefined>;
  none: ComponentChildren; // what to do to have some
  isEmpty(v: T): boolean;
  children(v: T): ComponentChildren;
}

/** A part of Operate: its answer, or, where there is nothing, what to do to have some. */
export function Part<T>({ title, answer, none, isEmpty, children }: PartProps<T>) {
  return (
    <section class="panel" aria-label={title} id={title.toLowerCase().replace(/ .*/, '')}>
      <div class="section-head">
        <h2>{title}</h2>
      </div>
      <Result answer={{ ...answer, value: answer.value === null ? null : { of: answer.value } }} what={title.toLowerCase()}>
        {({ of }) => (of === undefined || isEmpty(of) ? <p class="none">{none}</p> : children(of))}
      </Result>
    </section>
  );
}
