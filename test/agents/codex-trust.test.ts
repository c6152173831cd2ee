/** Codex runs the hooks of S2 once a person has trusted them, and skips them without a word before. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { CodexHome } from './codex.ts'
import { MadeUpModel } from './model.ts'

const run = promisify(execFile)

for (const scope of ['--user', '--project'])
  test(`untrusted hooks of Codex are skipped, and trusted ones run (${scope})`, async () => {
    await using model = await MadeUpModel.start()
    await using home = new CodexHome({ model: model.url })
    const state = join(home.folder, 'state')
    mkdirSync(state)
    home.env.S2_STATE = state
    home.env.PATH = `${home.clientsFolder}:${home.env.PATH}`
    const hooks = async (...args: readonly string[]): Promise<string> => {
      const { stdout, stderr } = await run('s2', ['hooks', ...args], { cwd: home.project, env: home.env })
      return stdout + stderr
    }
    const heard = (): string[] => {
      const folder = join(state, 'agents/events/new')
      const names = existsSync(folder) ? readdirSync(folder) : []
      return names.map((each) => JSON.parse(readFileSync(join(folder, each), 'utf8')).event.name)
    }
    const before = readFileSync(home.config, 'utf8')
    assert.match(await hooks('install', '--agent', 'codex', scope), /codex skips 7 of these hooks/)
    assert.equal(await home.exec('say something').ended, 0)
    assert.deepEqual(heard(), [])

    assert.match(await hooks('install', '--agent', 'codex', scope, '--trust', '--yes'), /trusts 7 hooks/)
    assert.match(await hooks('status', '--agent', 'codex'), /codex +trust +trusted .* hook Stop --agent codex/)
    assert.equal(await home.exec('say something').ended, 0)
    for (const event of ['SessionStart', 'UserPromptSubmit', 'Stop']) assert.ok(heard().includes(event), event)

    await hooks('uninstall', '--agent', 'codex', scope)
    assert.equal(readFileSync(home.config, 'utf8'), before)
  })

test('a hook of a person behind those of S2 runs on, trusted, when these are gone', async () => {
  await using model = await MadeUpModel.start()
  await using home = new CodexHome({ model: model.url })
  home.env.S2_STATE = join(home.folder, 'state')
  home.env.PATH = `${home.clientsFolder}:${home.env.PATH}`
  const hooks = async (...args: readonly string[]): Promise<unknown> =>
    await run('s2', ['hooks', ...args, '--agent', 'codex'], { cwd: home.project, env: home.env })
  await hooks('install')
  const path = join(home.folder, '.codex', 'hooks.json')
  const settings = JSON.parse(readFileSync(path, 'utf8')) as { hooks: { UserPromptSubmit: object[] } }
  const ran = join(home.folder, 'ran')
  settings.hooks.UserPromptSubmit.push({ hooks: [{ type: 'command', command: `echo x >> ${ran}`, timeout: 5 }] })
  writeFileSync(path, JSON.stringify(settings))
  await home.trustHooks()
  const times = async (): Promise<number> => {
    assert.equal(await home.exec('say something').ended, 0)
    return existsSync(ran) ? readFileSync(ran, 'utf8').trim().split('\n').length : 0
  }
  assert.equal(await times(), 1)
  await hooks('uninstall')
  assert.ok(!readFileSync(path, 'utf8').includes('hook Stop'))
  assert.equal(await times(), 2)
})
