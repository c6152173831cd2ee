/** What somebody who can write into the watcher's folder can plant there: it neither stops the watcher nor ends a process. */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { systemClock } from '#runtime/clock.ts'
import { readStat } from '#runtime/process-stat.ts'
import { Inbox } from '#spool/inbox.ts'
import { WakeProcesses } from '../../services/fs-watcher/wake-processes.ts'
import { put, Stage } from './stage.ts'

const FILES = ['inbox-running.json', 'inbox.json', 'inbox-running.json.part'] as const

describe('planted in the folder of the watcher', { concurrency: 2 }, () => {
  for (const name of FILES) {
    test(`a pipe in the place of ${name}`, async () => {
      await using stage = new Stage()
      const state = stage.state('pipe')
      mkdirSync(join(state, 'watcher'))
      execFileSync('mkfifo', [join(state, 'watcher', name)])
      const watcher = stage.watch(state, { S2_SOURCE: 'inbox' })
      await watcher.says('ready')
      await put(new Inbox(state), 1)
      await watcher.woken(1)
    })

    test(`a link in the place of ${name}`, async () => {
      await using stage = new Stage()
      const state = stage.state('link')
      const victim = join(stage.folder, 'victim')
      writeFileSync(victim, 'theirs')
      mkdirSync(join(state, 'watcher'))
      symlinkSync(victim, join(state, 'watcher', name))
      const watcher = stage.watch(state, { S2_SOURCE: 'inbox' })
      await watcher.says('ready')
      await put(new Inbox(state), 1)
      await watcher.woken(1)
      assert.equal(readFileSync(victim, 'utf8'), 'theirs')
    })
  }
})

test('a forged record ends no process that is not a wake command of ours', async () => {
  await using stage = new Stage()
  const record = join(stage.state('forged'), 'watcher', 'inbox-running.json')
  const foreign = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' })
  const pid = foreign.pid as number
  const { startedAt } = readStat(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  mkdirSync(join(record, '..'), { recursive: true })
  writeFileSync(record, JSON.stringify([{ pid, born: `${boot} ${startedAt}` }]), { mode: 0o600 })
  try {
    assert.equal(await new WakeProcesses(record).endLeftovers(systemClock), 0)
    writeFileSync(record, JSON.stringify([null, 7, { pid: -1 }, { pid }]))
    assert.equal(await new WakeProcesses(record).endLeftovers(systemClock), 0)
    assert.ok(existsSync(`/proc/${pid}`))
    assert.notEqual(readStat(readFileSync(`/proc/${pid}/stat`, 'utf8')).state, 'Z')
  } finally {
    foreign.kill('SIGKILL')
  }
})

test('a wake command that an earlier life left behind is ended, and a process that only carries its mark is not', async () => {
  await using stage = new Stage()
  const record = join(stage.state('left'), 'watcher', 'inbox-running.json')
  const earlier = new WakeProcesses(record)
  const env = { ...process.env, ...earlier.mark }
  const left = spawn('sleep', ['60'], { detached: true, stdio: 'ignore', env })
  const member = spawn('sleep', ['60'], { stdio: 'ignore', env }) // of this test's group: it leads none
  earlier.enter(left.pid as number)
  earlier.enter(member.pid as number)
  const over = new Promise((resolve) => left.once('exit', resolve))
  try {
    assert.equal(await new WakeProcesses(record).endLeftovers(systemClock), 1)
    await over
    assert.ok(existsSync(`/proc/${member.pid}`))
  } finally {
    member.kill('SIGKILL')
    left.kill('SIGKILL')
  }
})
