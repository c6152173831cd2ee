/** What systemd is told where the native module is missing: by a command of its own, here one that writes down what it hears. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { type Notify, openNotify } from '#runtime/systemd-notify.ts'
import { until } from '../../until.ts'

const WATCHDOG_MS = 2_000

class Scene implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 's2-notify-'))
  readonly log = recordingLog()
  notify!: Notify

  /** Puts the command in PATH. It takes a while, so that the next one comes while it runs. */
  command(body = ''): void {
    const script = `#!/bin/sh\necho "begins: $*" >>"${this.folder}/heard"\n${body}\nsleep 0.1\necho ends >>"${this.folder}/heard"\n`
    writeFileSync(join(this.folder, 'systemd-notify'), script, { mode: 0o755 })
  }

  async open(): Promise<this> {
    const env = {
      PATH: `${this.folder}:${process.env.PATH}`,
      NOTIFY_SOCKET: join(this.folder, 'notify.sock'),
      WATCHDOG_USEC: `${WATCHDOG_MS * 1000}`,
    }
    this.notify = await openNotify(env, { clock: systemClock, log: this.log, means: 'systemd-notify' })
    return this
  }

  heard(): string[] {
    const path = join(this.folder, 'heard')
    return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
  }

  said(words: string): boolean {
    return this.log.records.some(({ event }) => event.includes(words))
  }

  [Symbol.dispose](): void {
    this.notify.close()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

test('systemd-notify is run once at a time, with all that was said since', async () => {
  using scene = new Scene()
  scene.command()
  await scene.open()
  scene.notify.say('READY=1')
  await until('the first begins', () => scene.heard().length > 0)
  scene.notify.say('WATCHDOG=1', 'STATUS=one')
  scene.notify.say('WATCHDOG=1', 'STATUS=two words')
  scene.notify.say('STOPPING=1', 'EXTEND_TIMEOUT_USEC=5')
  await until('both end', () => scene.heard().length === 4)
  assert.deepEqual(scene.heard(), [
    'begins: READY=1',
    'ends',
    'begins: WATCHDOG=1 STATUS=two words STOPPING=1 EXTEND_TIMEOUT_USEC=5',
    'ends',
  ])
})

test('a watchdog that is fed with each round costs four processes in its patience', async () => {
  using scene = new Scene()
  scene.command()
  await scene.open()
  const began = performance.now()
  while (performance.now() - began < 1.5 * WATCHDOG_MS) {
    scene.notify.say('WATCHDOG=1', `STATUS=${performance.now()}`)
    await systemClock.sleep(5)
  }
  const fed = (): number => scene.heard().filter((line) => line.startsWith('begins')).length
  await until('it is fed', () => fed() >= 2)
  const most = 1 + Math.ceil((performance.now() - began) / (WATCHDOG_MS / 4))
  assert.ok(fed() <= most, `${fed()} processes, and ${most} at the most`)
  // What was said last is said, although nothing comes after it.
  scene.notify.say('WATCHDOG=1', 'STATUS=the last')
  await until('the last word is heard', () => scene.heard().at(-2) === 'begins: WATCHDOG=1 STATUS=the last')
})

test('what may block the event loop is said before it does', async () => {
  using scene = new Scene()
  scene.command()
  await scene.open()
  scene.notify.say('EXTEND_TIMEOUT_USEC=90000000', 'STATUS=growing')
  assert.deepEqual(scene.heard(), ['begins: EXTEND_TIMEOUT_USEC=90000000 STATUS=growing', 'ends'])
})

test('a command that fails is told of once, left alone for a while, and what it was to say is not lost', async () => {
  using scene = new Scene()
  scene.command('echo no socket >&2; exit 1')
  await scene.open()
  scene.notify.say('READY=1')
  await until('it is told', () => scene.said('systemd notification failed'))
  scene.notify.say('WATCHDOG=1')
  scene.command()
  await until('it is over', () => scene.said('systemd notifications work again'))
  assert.equal(scene.heard().at(-2), 'begins: READY=1 WATCHDOG=1')
  assert.equal(scene.heard().filter((line) => line.startsWith('begins')).length, 2)
  assert.equal(scene.log.records.filter(({ level }) => level === 'warn').length, 1)
})
