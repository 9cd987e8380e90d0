// A reporter of node --test for the runner: one line of JSON for each test, and for what test files print.
import { inspect } from 'node:util';

/** What there is to read about a failure. */
function text({ cause, message, failureType }) {
  if (failureType === 'hookFailed') return `a hook has failed: ${inspect(cause, { depth: 8 })}`;
  return typeof cause === 'string' || cause === undefined ? cause ?? message : inspect(cause, { depth: 8 });
}

export default async function* report(events) {
  const names = [];
  for await (const { type, data } of events) {
    let line;
    if (type === 'test:start') {
      names[data.nesting] = data.name;
    } else if (type === 'test:pass' || type === 'test:fail') {
      const { nesting, name, skip, details } = data;
      const error = type === 'test:fail' ? details.error : undefined, suite = details.type === 'suite';
      const path = name === data.file ? [] : [...names.slice(0, nesting), name]; // none where a file as a whole fails
      if (error?.failureType === 'subtestsFailed' && (suite || nesting === 0)) line = undefined;
      else if (error) line = { kind: 'fail', suite, path, text: text(error) };
      else if (skip !== undefined) line = { kind: 'skip', suite, path, reason: typeof skip === 'string' && skip ? skip : name };
      else if (!suite) line = { kind: 'pass', path };
    } else if (type === 'test:stdout' || type === 'test:stderr') {
      line = { kind: 'output', text: data.message };
    } else if (type === 'test:diagnostic' && /^(Warning|Error)\b/.test(data.message)) {
      line = { kind: 'output', text: `${data.message}\n` };
    }
    if (line) yield `${JSON.stringify(line)}\n`;
  }
}
