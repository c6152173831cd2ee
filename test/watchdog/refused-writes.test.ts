/** One write of a look that is refused stops no other, and is no outage of the store. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import type { NewIncident } from '#fleet/incident.ts'
import type { Move } from '#fleet/task.ts'
import type { Store } from '#store/store.ts'
import { CONFIG, Stage } from './stage.ts'

const { silentAfterMs: SILENT } = CONFIG
const SECOND = 1_000
const MINUTE = 60_000

/** The store, which answers some writes otherwise. */
function refusing(
  store: Store,
  refusal: { move?: (move: Move) => Error | null; openIncident?: (incident: NewIncident) => Error | null },
): Store {
  return new Proxy(store, {
    get(target, name) {
      const verb: unknown = Reflect.get(target, name)
      if (typeof verb !== 'function') return verb
      const why = refusal[name as keyof typeof refusal] as ((first: unknown) => Error | null) | undefined
      return async (...args: unknown[]) => {
        const error = why?.(args[0]) ?? null
        if (error !== null) throw error
        return Reflect.apply(verb, target, args) as unknown
      }
    },
  })
}

test('a conversation that was ended while idle does not halt dealing: within two seconds the work is another’s', async () => {
  await using stage = await Stage.open(3)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  const { session } = stage.actor('w1')
  await stage.store.endConversation(session.slice(0, -2))
  for (let n = 1; n <= 9; n += 1) await stage.addTask(`t${n}`, null)
  await stage.run(3 * SECOND)
  const holders = Object.values(await stage.holders())
  assert.deepEqual([...new Set(holders)].sort(), ['w2', 'w3'])
  assert.deepEqual(watchdog.errors, [])
  await stage.run(MINUTE)
  assert.deepEqual(
    watchdog.said('incident opened').map(({ fields }) => fields.cause),
    [],
  )
})

test('a write that is refused for a reason of its own stops no other of the look, however many there are', async () => {
  await using stage = await Stage.open(4)
  const refused: string[] = []
  const store = refusing(stage.store, {
    move: ({ task }) => {
      if (task !== 't1') return null
      refused.push(task)
      return new S2Error('conflict', 't1 cannot be moved now')
    },
    openIncident: ({ cause }) => (cause === 'silent:w1' ? new S2Error('invalid', 'no such incident') : null),
  })
  const watchdog = stage.watchdog({ store })
  for (let n = 0; n < 250; n += 1) await stage.addTask(`t${n}`, 'w2')
  await stage.run(20 * SECOND)
  stage.silence('w1', 'w2')
  await stage.run(SILENT + 25 * SECOND)
  const left = Object.entries(await stage.holders()).filter(([, holder]) => holder === 'w2')
  assert.deepEqual(left, [['t1', 'w2']])
  assert.deepEqual(await stage.open(), ['silent:w2'])
  assert.deepEqual(watchdog.errors, [])
  assert.ok(refused.length > 1, 'it is tried again')
  const said = watchdog.said('write refused')
  assert.deepEqual(
    said.map(({ fields }) => fields.what),
    ['move t1', 'open silent:w1'],
    'once each',
  )
})

test('a store that is away is an outage still, and nothing that was decided is lost', async () => {
  await using stage = await Stage.open(4)
  let isAway = true
  const away = (): Error | null => (isAway ? new S2Error('unavailable', 'not now') : null)
  const watchdog = stage.watchdog({ store: refusing(stage.store, { move: away, openIncident: away }) })
  await stage.addTask('t1', 'w1')
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(SILENT + 30 * SECOND)
  assert.ok(watchdog.errors.length > 0)
  isAway = false
  await stage.run(10 * SECOND)
  assert.notEqual((await stage.holders()).t1, 'w1')
  assert.deepEqual(await stage.open(), ['silent:w1'])
})
