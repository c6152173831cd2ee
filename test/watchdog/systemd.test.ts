/** What is made of the words of systemctl; a script stands in for it. */
import assert from 'node:assert/strict'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { AgentProcess } from '#fleet/agent-processes.ts'
import type { S2Error } from '#fleet/errors.ts'
import { systemClock } from '#runtime/clock.ts'
import { SETTINGS } from '#runtime/settings.ts'
import { SystemdSource } from '../../services/watchdog/process-sources/systemd.ts'

class Manager implements AsyncDisposable {
  readonly #folder: string
  readonly source: SystemdSource

  constructor(folder: string, manager: 'system' | 'user') {
    this.#folder = folder
    const units = SETTINGS.S2_UNITS.parse('claude@*.service,s2-worker-9=codex')
    const config = { manager, units, mayStart: true }
    this.source = new SystemdSource(config, { PATH: `${folder}:${process.env.PATH}` }, systemClock)
  }

  static async open(manager: 'system' | 'user' = 'system'): Promise<Manager> {
    const folder = await mkdtemp(join(tmpdir(), 's2-units-'))
    const script = `#!/bin/sh\nprintf '%s\\n' "$*" >>${folder}/asked\n. ${folder}/says\ncat ${folder}/answer\n`
    await writeFile(join(folder, 'systemctl'), script)
    await chmod(join(folder, 'systemctl'), 0o755)
    await writeFile(join(folder, 'says'), '')
    return new Manager(folder, manager)
  }

  async says(shell: string): Promise<void> {
    await writeFile(join(this.#folder, 'says'), shell)
  }

  async asked(): Promise<string[]> {
    return (await readFile(join(this.#folder, 'asked'), 'utf8')).trim().split('\n')
  }

  async read(...units: readonly Readonly<Record<string, string>>[]): Promise<string[]> {
    const blocks = units.map((unit) =>
      Object.entries({ LoadState: 'loaded', ...unit }).map(([key, value]) => `${key}=${value}`),
    )
    await writeFile(join(this.#folder, 'answer'), blocks.map((lines) => lines.join('\n')).join('\n\n'))
    const bodies = await this.source.read(new AbortController().signal)
    return bodies.map(({ agent, state, why }: AgentProcess) => [agent, state, why].join(' ').trim())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true })
  }
}

const RAN = { ExecMainExitTimestampMonotonic: '5000000' }

test('units tell whose they are, and whether they live', async () => {
  await using manager = await Manager.open()
  const unit = (n: number): string => `claude@s2-worker-${n}.service`
  assert.deepEqual(
    await manager.read(
      { Id: unit(1), ActiveState: 'active', SubState: 'running' },
      {
        Id: unit(2),
        ActiveState: 'failed',
        SubState: 'failed',
        Result: 'oom-kill',
        ExecMainCode: '2',
        ExecMainStatus: '9',
        ...RAN,
      },
      { Id: unit(3), ActiveState: 'inactive', SubState: 'dead', ExecMainCode: '1', ExecMainStatus: '0', ...RAN },
      { Id: unit(4), ActiveState: 'inactive', SubState: 'dead', ExecMainExitTimestampMonotonic: '0' },
      {
        Id: unit(5),
        ActiveState: 'activating',
        SubState: 'auto-restart',
        ExecMainCode: '1',
        ExecMainStatus: '7',
        ...RAN,
      },
      { Id: unit(6), ActiveState: 'activating', SubState: 'start-pre' },
      { Id: unit(7), ActiveState: 'active', SubState: 'running', FreezerState: 'frozen' },
      { Id: unit(8), ActiveState: 'maintenance', SubState: 'x' },
      { Id: 'codex.service', ActiveState: 'deactivating', SubState: 'stop-sigterm' },
      { Id: 'claude@a\\x2db.service', ActiveState: 'active', SubState: 'running' },
      { Id: 'nothing.service', LoadState: 'not-found', ActiveState: 'inactive' },
      { Id: 'other.service', ActiveState: 'active' },
    ),
    [
      's2-worker-1 living',
      's2-worker-2 ended signal 9, out of memory',
      's2-worker-3 ended exit code 0',
      's2-worker-5 ended exit code 7',
      's2-worker-6 living',
      's2-worker-7 hindered is frozen',
      's2-worker-8 unknown maintenance',
      's2-worker-9 living',
      'a-b living',
    ],
  )
  assert.match(
    (await manager.asked())[0] ?? '',
    /^show --no-pager --property=\S+ -- claude@\*\.service codex\.service$/,
  )
})

test('a unit that ran and is forgotten has ended, and stays so until it runs again', async () => {
  await using manager = await Manager.open('user')
  const unit = { Id: 'claude@w.service', ActiveState: 'active', SubState: 'running' }
  assert.deepEqual(await manager.read(unit), ['w living'])
  assert.deepEqual(await manager.read(), ['w ended inactive'])
  assert.deepEqual(await manager.read(), ['w ended inactive'])
  assert.deepEqual(await manager.read(unit), ['w living'])
  await manager.source.start('claude@w.service', new AbortController().signal)
  assert.match((await manager.asked()).at(-1) ?? '', /^--user start --no-ask-password -- claude@w\.service$/)
})

test('a manager that refuses, or is not there, tells nothing', async () => {
  await using manager = await Manager.open()
  await manager.says('echo "Failed to connect to bus" >&2; exit 1')
  await assert.rejects(manager.read(), /systemctl show failed: exit code 1/)
  await assert.rejects(
    manager.source.start('claude@w.service', new AbortController().signal),
    /Failed to connect to bus/,
  )
})

test('a start that is refused is told as that, with what to do; one that fails, in the words of the manager', async () => {
  await using manager = await Manager.open()
  const start = () => manager.source.start('claude@w.service', new AbortController().signal)
  for (const why of ['Interactive authentication required.', 'Access denied']) {
    await manager.says(`echo "Failed to start claude@w.service: ${why}" >&2; echo "See system logs" >&2; exit 1`)
    await assert.rejects(start(), (error: S2Error) => {
      return error.message === `systemd refused it: ${why}` && /polkit rule/.test(error.next ?? '')
    })
  }
  await manager.says('echo "Job for claude@w.service failed because of a timeout." >&2; exit 1')
  await assert.rejects(start(), /systemd could not start it: Job for claude@w\.service failed because of a timeout\./)
  await manager.says('exit 5')
  await assert.rejects(start(), /systemd could not start it: exit code 5/)
})

test('a unit that is no unit is refused by name', () => {
  for (const wrong of ['claude.service', '=x.service', 'a=b c', '*']) {
    assert.throws(() => SETTINGS.S2_UNITS.parse(wrong), /must be template@\*\.service or agent=unit\.service/, wrong)
  }
})
