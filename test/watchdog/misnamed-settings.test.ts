import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CONFIG, Stage } from './stage.ts'

const ROUND = CONFIG.roundMs

test('names in settings that nobody of the fleet has are told once, when the fleet is known', async () => {
  await using stage = await Stage.open(2, { w1: 'docs', w2: 'tests' })
  const endsAt = stage.clock.wall() + 3_600_000
  await stage.store.inviteWorker({ agent: 's2-worker-7', role: 'review', secretHash: 'x', endsAt })
  const watchdog = stage.watchdog({
    config: {
      onStall: {
        otherwise: 'move',
        byName: new Map([
          ['w1', 'tell'],
          ['docs', 'end'],
          ['nobody', 'tell'],
          ['s2-worker-7', 'tell'],
        ]),
      },
      fallback: new Map([
        ['tests', ['review', 'any']],
        ['dosc', ['tests']],
      ]),
    },
  })
  const told = (): unknown[] => watchdog.said('setting names nobody').map(({ fields }) => fields.why)
  await stage.run(ROUND / 2)
  assert.deepEqual(told(), [], 'a fleet that is being brought up is not complete')
  await stage.run(10 * ROUND)
  assert.deepEqual(told(), [
    'S2_ON_STALL names nobody, and no agent or role is called so; ' +
      'S2_FALLBACK names dosc, and no role is called so; did you mean docs?',
  ])
})

test('settings that name the fleet, or nobody, are not told of', async () => {
  await using stage = await Stage.open(1, { w1: 'docs' })
  const plain = stage.watchdog()
  const named = stage.watchdog({ config: { fallback: new Map([['docs', ['any']]]) } })
  await stage.run(3 * ROUND)
  assert.deepEqual(
    [plain, named].flatMap((each) => each.said('setting names nobody')),
    [],
  )
})
