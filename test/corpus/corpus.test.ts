/** Situations whose truth is known: no healthy one is moved or ended, and no stuck one is missed within its clock. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { suite, test } from 'node:test'
import { AT_ONCE, play, REAL, SIMULATED } from './corpus.ts'
import { judge, LABELS, may, must, type Situation } from './situation.ts'

function playAll(situations: readonly Situation[]): void {
  for (const situation of situations) {
    const { title, label, known } = situation
    test(`${title} (${label})`, known === undefined ? {} : { todo: known }, async () => {
      const { faults, happenings } = await play(situation)
      assert.deepEqual(faults, [], JSON.stringify(happenings))
    })
  }
}

suite('a fleet', () => playAll(SIMULATED))
suite('a command', { concurrency: AT_ONCE, skip: !existsSync('/proc/self/stat') }, () => playAll(REAL))

test('there are enough of them, of every kind, each once', () => {
  const all = [...SIMULATED, ...REAL]
  assert.ok(all.length >= 100, `${all.length}`)
  assert.equal(new Set(all.map(({ title }) => title)).size, all.length)
  for (const label of LABELS) assert.ok(all.filter((each) => each.label === label).length >= 2, label)
})

test('what did not follow, what came too late, and what came besides are faults', () => {
  const at = (ms: number, what: string, words = '') => ({ at: ms, what, words })
  const follows = [must('told x', 10, 20, /why/), must('moved t stalled', 20, 30), may('refused t')]
  const faultsOf = (...happenings: ReturnType<typeof at>[]): readonly string[] => judge({ follows }, happenings).faults
  assert.deepEqual(faultsOf(at(15, 'told x', 'why'), at(25, 'moved t stalled'), at(25, 'completed t')), [])
  assert.deepEqual(faultsOf(at(15, 'told x', 'why'), at(25, 'moved t stalled'), at(26, 'refused t')), [])
  assert.deepEqual(faultsOf(at(25, 'moved t stalled')), ['not: told x between 0.01 s and 0.02 s'])
  assert.equal(faultsOf(at(15, 'told x', 'so'), at(25, 'moved t stalled')).length, 2)
  assert.equal(faultsOf(at(15, 'told x', 'why'), at(35, 'moved t stalled')).length, 2)
  assert.deepEqual(faultsOf(at(15, 'told x', 'why'), at(25, 'moved t stalled'), at(29, 'told y')), [
    'told y after 0.03 s',
  ])
})
