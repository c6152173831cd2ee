import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SessionId } from '../../services/core/fleet/session-id.ts'
import type { Attempt, Task } from '../../services/core/fleet/task.ts'
import { NotNowTasks } from '../../services/worker/not-now-tasks.ts'
import type { PlaceFault } from '../../services/worker/place-fault.ts'
import { QuickFailures } from '../../services/worker/quick-failures.ts'
import { judgeRun } from '../../services/worker/run-verdict.ts'
import type { ClientWord } from '../../services/worker/running-command.ts'

const HERE = 'conv_here/b'
const ELSEWHERE = 'conv_elsewhere/b'
const FAULT: PlaceFault = { state: 'parked', why: 'usage limit', until: null }

function task(id: string, ...failedAt: readonly SessionId[]): Task {
  const attempt = (holder: SessionId, index: number): Attempt => ({
    ...{ epoch: index + 1, holder, startedAt: 0, end: 'quick_failure', endedAt: 1, note: '' },
  })
  return { id, holder: HERE, attempts: failedAt.map(attempt) } as unknown as Task
}

class Judge {
  readonly history = { quick: new QuickFailures(5_000), notNow: new NotNowTasks() }
  fault: PlaceFault | null = null

  /** A word on what a run means: its state, why it went back, and what is known of the place. */
  verdict(of: Task, exitCode: number | null, ms = 100, tail = 'one\nno licence\n', client?: ClientWord): string {
    const end = { exitCode, signal: null, tail, ...(client === undefined ? {} : { client }) }
    const run = { end, error: null, ms }
    const verdict = judgeRun(of, run, () => this.fault, this.history)
    if (verdict.state !== 'returned') return `${verdict.state}, ${verdict.showsWell ? 'well' : 'who knows'}`
    return `${verdict.cause} (${verdict.why}), ${verdict.fault?.state ?? 'who knows'}`
  }
}

test('a success and a failure after some time are the task’s, and show that the place is well', () => {
  const judge = new Judge()
  assert.equal(judge.verdict(task('a'), 0), 'completed, well')
  assert.equal(judge.verdict(task('a'), 1, 5_000), 'failed, well')
  assert.equal(judge.verdict(task('a'), null, 5_000), 'failed, well')
})

test('the first quick failure of a task goes back, the second has failed, and neither shows how the place is', () => {
  const judge = new Judge()
  assert.equal(judge.verdict(task('a'), 1), 'quick_failure (no licence), who knows')
  assert.equal(judge.verdict(task('a', HERE), 1), 'failed, who knows')
  assert.equal(judge.verdict(task('b', ELSEWHERE), null), 'failed, who knows')
})

test('the third in a row makes the place sick, and then the same task does not fail for it', () => {
  const judge = new Judge()
  judge.verdict(task('a'), 1)
  judge.verdict(task('b'), 1)
  assert.equal(judge.verdict(task('c'), 1), 'quick_failure (no licence), sick')
  assert.equal(
    judge.verdict(task('a', HERE), 1),
    'sick (its command failed within seconds 4 times in a row: no licence), sick',
  )
})

test('a task that failed at once elsewhere has failed, whatever is thought of this place, and says nothing of it', () => {
  const judge = new Judge()
  judge.verdict(task('a'), 1)
  for (const id of ['c', 'd', 'e']) assert.equal(judge.verdict(task(id, ELSEWHERE), 1), 'failed, who knows')
  assert.equal(judge.verdict(task('b'), 1), 'quick_failure (no licence), who knows', 'they prolonged the row')
  judge.verdict(task('c', ELSEWHERE), 1)
  assert.equal(judge.verdict(task('f'), 1), 'quick_failure (no licence), sick', 'one of them ended the row')
  assert.equal(judge.verdict(task('g', ELSEWHERE, HERE), 1), 'failed, who knows')
})

test('what only its command says is the place’s once, and the task’s where other work went well since', () => {
  const judge = new Judge()
  const said: PlaceFault = { state: 'sick', why: 'no licence', until: null, isSaid: true }
  judge.fault = said
  assert.equal(judge.verdict(task('a'), 75), 'sick (no licence), sick')
  assert.equal(judge.verdict(task('a'), 75), 'sick (no licence), sick', 'nothing has shown yet that the place is well')
  judge.verdict(task('b'), 0)
  assert.equal(judge.verdict(task('a'), 75), 'not_now (no licence), who knows')
  assert.equal(judge.verdict(task('c'), 75), 'sick (no licence), sick', 'another task is another word')
  const elsewhere = { ...task('d', ELSEWHERE), attempts: [{ end: 'not_now' }] } as unknown as Task
  assert.equal(judge.verdict(elsewhere, 75), 'not_now (no licence), who knows', 'another agent has shown it')
  judge.fault = { ...said, state: 'parked', isSaid: undefined } as unknown as PlaceFault
  assert.equal(judge.verdict(task('a'), 1), 'parked (no licence), parked', 'a client says so of its account')
})

test('a fault of the place that shows itself comes first, and only where the command failed', () => {
  const judge = new Judge()
  judge.fault = FAULT
  assert.equal(judge.verdict(task('a', HERE), 1), 'parked (usage limit), parked')
  assert.equal(judge.verdict(task('a'), 0), 'completed, well')
  judge.fault = null
  assert.equal(judge.verdict(task('a'), 1, 100, ''), 'quick_failure (), who knows', 'the success ended every row')
})

test('what a client answers is the task’s, however soon it comes', () => {
  const judge = new Judge()
  for (const id of ['a', 'b', 'c', 'd']) assert.equal(judge.verdict(task(id), 1, 10, 'x', 'answered'), 'failed, well')
  assert.equal(judge.verdict(task('e'), 0, 10, 'x', 'answered'), 'completed, well')
})

test('a client that dies gives its task back: at once as a quick failure, later for another start in its session', () => {
  const judge = new Judge()
  assert.equal(judge.verdict(task('a'), 1, 10, 'no licence', 'died'), 'quick_failure (no licence), who knows')
  assert.equal(judge.verdict(task('a'), null, 5_000, 'SIGKILL', 'died'), 'client_died (SIGKILL), who knows')
})
