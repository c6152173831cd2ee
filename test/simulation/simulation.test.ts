import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Bug } from './bugs.ts'
import type { Outcome } from './outcome.ts'
import { runWorlds } from './pool.ts'
import { DAY, type Pace, paceOf } from './settings.ts'

async function run(seeds: readonly number[], bug: Bug | null = null): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  await runWorlds(seeds, 2, bug, (outcome) => outcomes.push(outcome))
  return outcomes.sort((one, other) => one.seed - other.seed)
}

function range(first: number, count: number, pace?: Pace): number[] {
  const seeds: number[] = []
  for (let seed = first; seeds.length < count; seed += 1) {
    if (pace === undefined || paceOf(seed) === pace) seeds.push(seed)
  }
  return seeds
}

const AT_ONCE = 4

/** Of how many worlds one must show a mistake. */
const WITHIN = 120

/** A world of a pace in which a mistake shows, and the promises that it breaks. Worlds change with the code: then another shows it. */
const CAUGHT: Readonly<Record<Bug, { readonly pace: Pace; readonly seed: number; readonly promise: RegExp }>> = {
  'no epoch check': { pace: 'minutes', seed: 3, promise: /one owner: completed of|one owner: in_progress of/ },
  'no grace': { pace: 'minutes', seed: 1, promise: /silence: .* convicted .* (before|of seeing)/ },
  'read once per event': { pace: 'minutes', seed: 1, promise: /never received|all comes to rest/ },
  'no brake': { pace: 'minutes', seed: 17, promise: /mass silence: / },
  'unknown is dead': { pace: 'minutes', seed: 10, promise: /unknown is not dead: / },
  'new key per try': { pace: 'minutes', seed: 1, promise: /sent once: / },
  'no revival': { pace: 'days', seed: 4, promise: /all comes to rest: .* (was not heard|has no token)/ },
  'no renewal': { pace: 'days', seed: 4, promise: /nobody is kept out: / },
  'incidents end with conversations': { pace: 'days', seed: 40, promise: /an incident lasts as its cause: / },
  'a crash is no attempt': { pace: 'minutes', seed: 21, promise: /attempts are bounded: / },
  'processor time is no sign': {
    pace: 'minutes',
    seed: 7,
    promise: /who works is left alone: |one incident: .*task_stalled.*nothing had been wrong/,
  },
  'untaken tasks are not looked at': { pace: 'minutes', seed: 263, promise: /a task has a clock: / },
  'no deadlines': { pace: 'minutes', seed: 62, promise: /a deadline ends its task: / },
  'roles are ignored': { pace: 'minutes', seed: 2, promise: /roles hold: / },
  'a sick place is asked at once': { pace: 'minutes', seed: 2, promise: /a sick place is left alone: / },
  'timers by the wall clock': {
    pace: 'days',
    seed: 24,
    promise: /one incident: .*nothing had been wrong|keeps its work/,
  },
}

suite('the fleet in simulated time', () => {
  test('worlds keep every promise, and much happens in them', async () => {
    const outcomes = await run(range(1, 16))
    for (const { seed, violations } of outcomes) assert.deepEqual(violations, [], `seed ${seed}`)
    const faults = new Set(outcomes.flatMap((outcome) => Object.keys(outcome.faults)))
    const acts = new Set(outcomes.flatMap(({ operations }) => Object.keys(operations)))
    assert.ok(acts.has('agent gone') && acts.has('agent restarted'), 'nobody died, or nobody was started again')
    assert.ok(faults.size > 20, `only these faults fired: ${[...faults].join(', ')}`)
  })

  test('nights pass in which conversations end, and everybody is back in the morning', async () => {
    const outcomes = await run(range(1, 8, 'days'))
    for (const { seed, violations } of outcomes) assert.deepEqual(violations, [], `seed ${seed}`)
    const acts = new Set(outcomes.flatMap(({ operations }) => Object.keys(operations)))
    assert.ok(acts.has('conversation revived') && acts.has('host let in again'), [...acts].join(', '))
    for (const { simulatedMs } of outcomes) assert.ok(simulatedMs > DAY)
  })

  test('a seed is one world, whoever runs it', async () => {
    const [first, again] = await Promise.all([run([5, 6, 7]), run([7, 6, 5])])
    assert.deepEqual(first, again)
    assert.equal(new Set(first.map(({ digest }) => digest)).size, 3)
  })

  for (const [bug, { pace, seed, promise }] of Object.entries(CAUGHT)) {
    test(`it finds out a mistake: ${bug}`, async (context) => {
      const others = range(1, WITHIN, pace)
      const batches = Array.from({ length: WITHIN / AT_ONCE }, (_, n) => others.slice(n * AT_ONCE, (n + 1) * AT_ONCE))
      for (const seeds of [[seed], ...batches]) {
        const outcomes = await run(seeds, bug as Bug)
        const broken = outcomes.filter(({ violations }) => violations.length > 0)
        if (broken.length === 0) continue
        const told = broken.flatMap(({ violations }) => violations)
        assert.ok(
          told.some((violation) => promise.test(violation)),
          told.join('\n'),
        )
        context.diagnostic(`found with seed ${broken[0]?.seed}`)
        return
      }
      assert.fail(`${WITHIN} worlds passed with it`)
    })
  }

  test('the command says what failed and how to see it again', () => {
    const main = fileURLToPath(new URL('./main.ts', import.meta.url))
    const failing = spawnSync(process.execPath, [main, '--seed', '1', '--bug', 'read once per event'], {
      encoding: 'utf8',
    })
    assert.match(failing.stdout, /make simulate SEED=1\n/)
    assert.match(failing.stdout, /\n0 passed, 1 failed\n$/)
    assert.equal(failing.status, 1)
    assert.equal(spawnSync(process.execPath, [main, '--seeds', 'many']).status, 64)
  })
})
