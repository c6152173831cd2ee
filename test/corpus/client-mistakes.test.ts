/** Mistakes that are made on purpose: each is seen by a situation whose truth is known. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClientObserver } from '#fleet/client-observer.ts'
import { WorkObserver } from '#fleet/work-observer.ts'
import { CLIENTS } from './clients.ts'
import { play } from './corpus.ts'

/** Makes a method of a class do otherwise; undone on disposal. */
function replaced<T extends object, K extends keyof T>(
  prototype: T,
  name: K,
  wrong: (sound: T[K]) => T[K],
): Disposable {
  const sound = prototype[name]
  prototype[name] = wrong(sound)
  return {
    [Symbol.dispose]: () => {
      prototype[name] = sound
    },
  }
}

/** What is known of clients, without some of it. */
function observeWithout(left: 'waiting' | 'watched'): Disposable {
  return replaced(WorkObserver.prototype, 'observe', (sound) => {
    return function wrong(this: WorkObserver, tasks, fleet, at, wall, known = {}) {
      sound.call(this, tasks, fleet, at, wall, { ...known, [left]: new Set<string>() })
    }
  })
}

/** Clients of which only these states are believed. */
function believing(isBelieved: (state: string) => boolean): Disposable {
  return replaced(ClientObserver.prototype, 'of', (sound) => {
    return function wrong(this: ClientObserver, agent) {
      const found = sound.call(this, agent)
      return found === null || isBelieved(found.activity.state) ? found : null
    }
  })
}

const MISTAKES: readonly { readonly title: string; plant(): Disposable; readonly seenBy: readonly string[] }[] = [
  {
    title: 'whatever is said counts at once',
    plant: () =>
      replaced(ClientObserver.prototype, 'settle', (sound) => {
        return function wrong(this: ClientObserver, now) {
          return sound.call(this, now + 60_000)
        }
      }),
    seenBy: [
      'a prompt that is answered within a second',
      'a client that is started again within a second',
      'a limit that is none after a second',
    ],
  },
  {
    title: 'a dialog stops no clock',
    plant: () => observeWithout('waiting'),
    seenBy: ['a permission prompt of forty minutes', 'a task that lies with an agent at a prompt is not taken away'],
  },
  {
    title: 'a lease that a daemon renews is work',
    plant: () => observeWithout('watched'),
    seenBy: [
      'a client that is stopped in the middle of a turn while its daemon beats',
      'a client that idles and has forgotten its task',
    ],
  },
  {
    title: 'an end is not believed',
    plant: () => believing((state) => state !== 'gone'),
    seenBy: ['a client that is killed in the middle of a turn'],
  },
  {
    title: 'a dialog is not believed',
    plant: () => believing((state) => state !== 'waiting'),
    seenBy: ['a permission prompt of a minute', 'new work goes past an agent at a prompt'],
  },
  {
    title: 'a limit keeps nobody from work',
    plant: () => replaced(ClientObserver.prototype, 'conditions', () => () => []),
    seenBy: ['a limit with a task that is not begun', 'a login that has ended'],
  },
]

for (const { title, plant, seenBy } of MISTAKES) {
  test(title, async () => {
    for (const name of seenBy) {
      const situation = CLIENTS.find((each) => each.title === name)
      assert.ok(situation, name)
      using _ = plant()
      const { faults } = await play(situation)
      assert.notDeepEqual(faults, [], name)
    }
  })
}
