import t from 'tap';
import { v1Types } from '@gantry/api';
import { actionFor, restartCount } from './policy.ts';

const { CREATED, PAUSED, RUNNING, STOPPED, UNKNOWN } = v1Types.Status;
const stopped = (exitStatus: number) => ({ status: STOPPED, exitStatus });
const is = (status: number) => ({ status, exitStatus: 0 });
const labels = (status: string, more: Record<string, string> = {}) => ({
  'containerd.io/restart.status': status,
  ...Object.fromEntries(Object.entries(more).map(([key, value]) => [`containerd.io/restart.${key}`, value])),
});

t.test('without the status label, or with another word in it, nothing is done', (t) => {
  t.equal(actionFor({}, undefined), 'none');
  t.equal(actionFor({ 'containerd.io/restart.policy': 'always' }, stopped(1)), 'none');
  t.equal(actionFor(labels('sideways'), stopped(1)), 'none');
  t.end();
});

t.test('one that is to run is started when it is stopped or absent, and left alone otherwise', (t) => {
  for (const task of [undefined, stopped(0), stopped(3)]) t.equal(actionFor(labels('running'), task), 'start');
  for (const status of [RUNNING, PAUSED, CREATED, UNKNOWN]) t.equal(actionFor(labels('running'), is(status)), 'none');
  t.end();
});

t.test('policies decide', (t) => {
  const by = (policy: string, exitStatus: number, more = {}) =>
    actionFor(labels('running', { policy, ...more }), stopped(exitStatus));
  t.equal(by('no', 1), 'none');
  t.equal(by('always', 0), 'start');
  t.equal(by('on-failure', 0), 'none');
  t.equal(by('on-failure', 1), 'start');
  t.equal(by('on-failure:2', 1, { count: '1' }), 'start');
  t.equal(by('on-failure:2', 1, { count: '2' }), 'none');
  t.equal(by('on-failure:0', 1, { count: '99' }), 'start');
  t.equal(by('on-failure:x', 1), 'none');
  t.equal(by('unless-stopped', 1), 'start');
  t.equal(by('unless-stopped', 1, { 'explicitly-stopped': 'true' }), 'none');
  t.equal(by('whatever', 1), 'none');
  t.end();
});

t.test('one that is to be stopped is stopped whatever it does, once', (t) => {
  for (const status of [RUNNING, PAUSED, CREATED]) t.equal(actionFor(labels('stopped'), is(status)), 'stop');
  t.equal(actionFor(labels('stopped'), stopped(0)), 'none');
  t.equal(actionFor(labels('stopped'), undefined), 'none');
  t.end();
});

t.test('a count that is none is zero', (t) => {
  t.equal(restartCount(labels('running', { count: '7' })), 7);
  for (const count of ['', '-1', 'x', '1e99']) t.equal(restartCount(labels('running', { count })), 0);
  t.end();
});
