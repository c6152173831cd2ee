/** Signs of work of real commands: what counts for work, and what only lives. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { WorkSigns } from '#runtime/work-signs.ts'
import type { Task } from '../../services/core/fleet/task.ts'
import { systemClock } from '../../services/core/runtime/clock.ts'
import type { RunningCommand } from '../../services/worker/running-command.ts'
import { commandStarter } from '../../services/worker/task-command.ts'
import { ManualClock } from '../manual-clock.ts'
import { until } from '../until.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-signs-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const isLinux = existsSync('/proc/self/stat')
const LOOK_MS = 20_000

/** A command that is looked at every 20 s, as its clock says; answers what the looks saw. */
class Watched implements AsyncDisposable {
  readonly #clock = new ManualClock()
  readonly #running: RunningCommand
  readonly #ready: string

  constructor(script: string) {
    this.#ready = join(folder, `ready-${Math.trunc(performance.now() * 1_000)}`)
    const argv = ['/bin/sh', '-c', `ready() { : > ${this.#ready}; }; ${script}`] as const
    const start = commandStarter(argv, { PATH: process.env.PATH }, folder, this.#clock)
    this.#running = start({ id: 't-1', description: 'x' } as Task, () => undefined)
  }

  /** Once it is under way and what it was started with has been seen. */
  async settled(): Promise<this> {
    await until('it is under way', () => existsSync(this.#ready))
    await until('nothing more begins', () => isIdle(this))
    return this
  }

  async look(afterMs = LOOK_MS): Promise<boolean | undefined> {
    await this.#clock.advance(afterMs)
    return await this.#running.hasWorked?.()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#running.stop(0)
    const over = this.#running.ended.catch(() => undefined)
    await until('it has ended', async () => {
      await this.#clock.advance(1_000)
      return await Promise.race([over.then(() => true), systemClock.sleep(20).then(() => false)])
    })
  }
}

/** Whether four looks in a row see nothing, with some real time between, in which a command could move. */
async function isIdle(watched: Watched): Promise<boolean> {
  for (let times = 0; times < 4; times += 1) {
    await systemClock.sleep(150)
    if (await watched.look()) return false
  }
  return true
}

const IDLE: Readonly<Record<string, string>> = {
  'a command that sleeps': 'ready; exec sleep 3600',
  'one that waits at a prompt': 'mkfifo prompt 2>/dev/null; ready; read x < prompt',
  'one whose children are all asleep': 'sleep 3600 & (sleep 3600 & sleep 3600) & ready; wait',
  'an idle program with timers': `exec ${process.execPath} -e "require('fs').closeSync(1); setInterval(() => {}, 50)" & ready; wait`,
}

for (const [what, script] of Object.entries(IDLE)) {
  test(`${what} shows no sign of work`, { skip: !isLinux }, async () => {
    await using watched = await new Watched(script).settled() // its processes may be slow to start
    await until('it is seen to be idle', () => isIdle(watched))
  })
}

/** It ends by itself: what leaves the group of a command is not ended with it. */
const BURN = 'timeout 20 sh -c "while :; do :; done"'
/** Each begins its work when the file `go` is there, so that it is settled before. */
const BUSY: Readonly<Record<string, string>> = {
  'a quiet build that burns processor time': BURN,
  'a build whose compiler runs in a session of its own': `setsid ${BURN} & wait`,
  'an orphan that has left the group': `exec bash --norc -mc '(${BURN} &); sleep 3600'`,
  'output without a line end': 'printf x; sleep 3600',
  'a child that came': 'sleep 3600 & wait',
}

for (const [what, script] of Object.entries(BUSY)) {
  test(`${what} is a sign of work`, { skip: !isLinux }, async () => {
    const go = join(folder, 'go')
    rmSync(go, { force: true })
    await using watched = await new Watched(`mkfifo ${go} 2>/dev/null; ready; read x < ${go}; ${script}`).settled()
    writeFileSync(go, 'go\n')
    await until('work is seen', async () => {
      await systemClock.sleep(200) // a busy machine gives it a few hundredths of a second
      return await watched.look(2_000)
    })
  })
}

/** A /proc with processes of session 7, by the ticks that each has spent. */
function writeProc(folderOfProc: string, spent: Readonly<Record<number, number>>): void {
  rmSync(folderOfProc, { recursive: true, force: true })
  for (const [pid, ticks] of Object.entries(spent)) {
    mkdirSync(join(folderOfProc, pid), { recursive: true })
    const rest = Array(35).fill('0').join(' ')
    writeFileSync(join(folderOfProc, pid, 'stat'), `${pid} (x) y) S 1 ${pid} 7 0 0 0 0 0 0 0 ${ticks} 0 0 0 ${rest}`)
  }
}

test('processor time counts from a five-hundredth of a core on, and children where they came or went', async () => {
  const proc = join(folder, 'proc')
  const clock = new ManualClock()
  writeProc(proc, { 7: 100 })
  const signs = new WorkSigns(7, clock, proc)
  assert.equal(await signs.look(), false, 'the first look has nothing to compare with')
  const look = async (spent: Readonly<Record<number, number>>, ms: number): Promise<boolean> => {
    writeProc(proc, spent)
    await clock.advance(ms)
    return await signs.look()
  }
  assert.equal(await look({ 7: 103 }, 20_000), false)
  assert.equal(await look({ 7: 107 }, 20_000), true)
  assert.equal(await look({ 7: 108 }, 100), false, 'one tick is none')
  assert.equal(await look({ 7: 110 }, 100), true)
  assert.equal(await look({ 7: 110, 8: 0 }, 100), true, 'one came')
  assert.equal(await look({ 7: 110, 8: 0 }, 100), false)
  assert.equal(await look({ 7: 110, 9: 0 }, 100), true, 'one went, and another came')
  assert.equal(await look({ 7: 110 }, 100), true, 'one went')
})

test('what its processes did while it printed is no further sign once it is silent', async () => {
  const proc = join(folder, 'proc-of-printer')
  const clock = new ManualClock()
  writeProc(proc, { 7: 100 })
  const signs = new WorkSigns(7, clock, proc)
  const look = async (ticks: number): Promise<boolean> => {
    writeProc(proc, { 7: ticks })
    await clock.advance(20_000)
    return await signs.look()
  }
  await signs.look()
  signs.noteOutput()
  assert.deepEqual([await look(500), await look(500), await look(500)], [true, false, false])
  signs.noteOutput()
  assert.deepEqual([await look(500), await look(600), await look(700)], [true, false, true], 'work goes on')
})

test('where processes cannot be read, output is the only sign', async () => {
  const signs = new WorkSigns(process.pid, systemClock, join(folder, 'no-proc'))
  assert.equal(await signs.look(), false)
  signs.noteOutput()
  assert.equal(await signs.look(), true)
  assert.equal(await signs.look(), false)
})

test('a look at all processes lets others have their turn', async () => {
  const proc = join(folder, 'many')
  // 400 processes are read 40 at a time.
  writeProc(proc, Object.fromEntries(Array.from({ length: 400 }, (_, index) => [index + 1, 0])))
  const signs = new WorkSigns(1, new ManualClock(), proc)
  let isOver = false
  let turns = 0
  const turn = (): void => {
    turns += 1
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  await signs.look()
  isOver = true
  assert.ok(turns >= 10, `${turns} turns`)
})
