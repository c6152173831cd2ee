import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { LightController, LightSignal } from './light-abort.ts'

/** What the platform’s classes and the light ones have in common. */
interface Kind {
  readonly Controller: new () => AbortController
  readonly Signal: Pick<typeof AbortSignal, 'any' | 'abort'>
}

const PLATFORM: Kind = { Controller: AbortController, Signal: AbortSignal }
const LIGHT = { Controller: LightController, Signal: LightSignal } as unknown as Kind

type Say = (what: string) => void
const SITUATIONS: Readonly<Record<string, (kind: Kind, say: Say) => void>> = {
  'a signal aborts once, with its first reason': ({ Controller }, say) => {
    const controller = new Controller()
    const { signal } = controller
    signal.addEventListener('abort', () => say(`heard ${signal.aborted} ${signal.reason}`), { once: true })
    say(`${signal.aborted} ${signal.reason}`)
    controller.abort('first')
    controller.abort('second')
    say(`${signal.aborted} ${signal.reason}`)
    assert.throws(() => signal.throwIfAborted())
  },
  'without a reason it is an AbortError': ({ Controller }, say) => {
    const controller = new Controller()
    controller.signal.throwIfAborted()
    controller.abort()
    say((controller.signal.reason as Error).name)
  },
  'listeners are called in order, one that was added twice once, one that was removed never': ({ Controller }, say) => {
    const { signal, abort } = bound(new Controller())
    const [first, second, third] = [1, 2, 3].map((n) => (event: Event) => say(`${n} ${event.type}`))
    for (const each of [second, first, third, second]) signal.addEventListener('abort', each as () => void)
    signal.removeEventListener('abort', first as () => void)
    signal.removeEventListener('abort', () => say('unknown'))
    abort()
    signal.addEventListener('abort', () => say('too late'))
    abort()
  },
  'a listener may remove one that comes after it, add one, and be an object': ({ Controller }, say) => {
    const { signal, abort } = bound(new Controller())
    const last = (): void => say('last')
    signal.addEventListener('abort', { handleEvent: () => say('object') })
    signal.addEventListener('abort', () => {
      say('first')
      signal.removeEventListener('abort', last)
    })
    signal.addEventListener('abort', last)
    abort()
  },
  'any of several signals': ({ Controller, Signal }, say) => {
    const [one, other] = [bound(new Controller()), bound(new Controller())]
    const any = Signal.any([one.signal, other.signal])
    const nested = Signal.any([any, new Controller().signal])
    nested.addEventListener('abort', () => say(`nested ${nested.reason}`))
    any.addEventListener('abort', () => say(`any ${any.reason}`))
    other.signal.addEventListener('abort', () => say('own'))
    say(`${any.aborted} ${nested.aborted}`)
    other.abort('other')
    one.abort('one')
    say(`${any.aborted} ${any.reason} ${nested.aborted} ${nested.reason}`)
  },
  'signals that are aborted from the start': ({ Controller, Signal }, say) => {
    say(String(Signal.abort('dead').reason))
    const any = Signal.any([new Controller().signal, Signal.abort('dead'), Signal.abort('deader')])
    say(`${any.aborted} ${any.reason}`)
    say(String(Signal.any([]).aborted))
  },
}

function bound(controller: AbortController): { signal: AbortSignal; abort(reason?: unknown): void } {
  return { signal: controller.signal, abort: (reason) => controller.abort(reason) }
}

suite('the light signals of worlds behave as the platform’s', () => {
  for (const [situation, act] of Object.entries(SITUATIONS)) {
    test(situation, () => {
      const told = [PLATFORM, LIGHT].map((kind) => {
        const lines: string[] = []
        act(kind, (what) => lines.push(what))
        return lines
      })
      assert.deepEqual(told[1], told[0])
    })
  }
})
