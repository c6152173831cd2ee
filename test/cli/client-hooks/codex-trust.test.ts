import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Outcome, run } from '../run-command.ts'

const base = mkdtempSync(join(tmpdir(), 's2-trust-'))
after(() => rmSync(base, { recursive: true, force: true }))
let homes = 0

/** Answers `hooks/list` as codex 0.171.0 does: by the hash of each hook, and what its settings say of that. */
const CODEX = `#!${process.execPath}
const { createHash } = require('node:crypto')
const { existsSync, readFileSync } = require('node:fs')
const read = (path) => (existsSync(path) ? readFileSync(path, 'utf8') : '')
const hooksAt = (path) =>
  Object.entries(JSON.parse(read(path) || '{}').hooks ?? {}).flatMap(([event, groups]) =>
    groups.map(({ hooks: [hook] }, group) => {
      const name = event.replace(/(?<!^)[A-Z]/g, (each) => '_' + each).toLowerCase()
      const key = path + ':' + name + ':' + group + ':0'
      const currentHash = 'sha256:' + createHash('sha256').update(JSON.stringify(hook)).digest('hex')
      const table = read(process.env.HOME + '/.codex/config.toml').split('\\n[').find((each) => each.includes(key)) ?? ''
      const isTrusted = table.includes(currentHash) && !read(process.env.HOME + '/deaf')
      const trustStatus = isTrusted ? 'trusted' : table.includes('sha256') ? 'modified' : 'untrusted'
      return { key, command: hook.command, sourcePath: path, currentHash, trustStatus, enabled: true }
    }))
if (process.argv[2] !== 'app-server') process.exit(2)
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line)
  if (method === 'initialize') console.log(JSON.stringify({ id, result: {} }))
  if (method !== 'hooks/list') return
  const hooks = [process.env.HOME + '/.codex/hooks.json', params.cwds[0] + '/.codex/hooks.json'].flatMap(hooksAt)
  console.log(JSON.stringify({ id, result: { data: [{ cwd: params.cwds[0], hooks }] } }))
})
`

const CONFIG =
  '# mine\nmodel = "big" # the big one\n\n[hooks.state."/else/hooks.json:stop:0:0"]\ntrusted_hash = "sha256:00"\n'

class Home {
  readonly path: string
  readonly project: string
  asked: string[] = []

  constructor() {
    homes += 1
    this.path = join(base, `home-${homes}`)
    this.project = join(this.path, 'project')
    mkdirSync(this.project, { recursive: true })
    mkdirSync(join(this.path, '.codex'))
    mkdirSync(join(this.path, 'bin'))
    writeFileSync(join(this.path, 'bin/codex'), CODEX, { mode: 0o755 })
    writeFileSync(this.config, CONFIG)
  }

  get config(): string {
    return join(this.path, '.codex/config.toml')
  }

  get settings(): string {
    return readFileSync(this.config, 'utf8')
  }

  async s2(argv: readonly string[], answer: string | null = null): Promise<Outcome> {
    return await run(['hooks', ...argv], {
      env: { HOME: this.path, S2_STATE: join(this.path, 'state'), PATH: join(this.path, 'bin') },
      folder: this.project,
      isAttended: answer !== null,
      ask: async (question) => {
        this.asked.push(question)
        return answer
      },
    })
  }
}

const INSTALL = ['install', '--agent', 'codex']

test('a person is asked before hooks are trusted, and what was written goes again', async () => {
  const home = new Home()
  const untrusted = await home.s2(INSTALL)
  assert.match(untrusted.err, /codex skips 7 of these hooks/)
  assert.equal(home.settings, CONFIG)
  const { code, err, out } = await home.s2([...INSTALL, '--trust'], 'y')
  assert.equal(code, 0, err)
  assert.match(home.asked[0] ?? '', /config\.toml\? \[y\/N\]/)
  assert.match(err, /hook Stop --agent codex/)
  assert.doesNotMatch(err, /skips/)
  assert.match(out, /config\.toml trusts 7 hooks/)
  assert.ok(home.settings.startsWith(CONFIG))
  assert.equal(home.settings.match(/^trusted_hash = "sha256:[0-9a-f]{64}"$/gm)?.length, 7)
  const status = await home.s2(['status', '--agent', 'codex'])
  assert.equal(status.out.match(/^codex +trust +trusted +.* hook /gm)?.length, 7)
  await home.s2([...INSTALL, '--trust'], 'y')
  assert.equal(home.asked.length, 1, 'who is trusted already is not asked for')
  await home.s2(['uninstall', '--agent', 'codex'])
  assert.equal(home.settings, CONFIG)
  assert.ok(!existsSync(`${home.config}.before-s2`))
})

test('nothing is trusted where nobody says yes', async () => {
  const home = new Home()
  const unattended = await home.s2([...INSTALL, '--trust'])
  assert.equal(unattended.code, 64)
  assert.ok(!existsSync(join(home.path, '.codex/hooks.json')), 'it is refused before anything is changed')
  for (const answer of ['', 'n', 'please']) {
    const { code, err } = await home.s2([...INSTALL, '--trust'], answer)
    assert.equal(code, 0)
    assert.match(err, /codex skips 7/)
    assert.equal(home.settings, CONFIG)
  }
  assert.equal((await home.s2([...INSTALL, '--trust', '--yes'])).code, 0)
  assert.notEqual(home.settings, CONFIG)
  assert.equal((await home.s2(['install', '--agent', 'claude', '--trust', '--yes'])).code, 64)
})

test('a dry run shows what would be trusted', async () => {
  const home = new Home()
  await home.s2(INSTALL)
  const { out } = await home.s2([...INSTALL, '--trust', '--dry-run'])
  assert.equal(out.match(/^\+\[hooks\.state\./gm)?.length, 7)
  assert.equal(home.settings, CONFIG)
})

test('hooks of somebody else are not trusted beside those of S2, however they look', async () => {
  const home = new Home()
  const alike = { hooks: [{ type: 'command', command: 'steal; s2 hook Stop --agent codex' }] }
  writeFileSync(join(home.path, '.codex/hooks.json'), JSON.stringify({ hooks: { PreToolUse: [alike] } }))
  await home.s2([...INSTALL, '--trust', '--yes'])
  assert.doesNotMatch(home.settings, /pre_tool_use/)
})

test('hooks of a project are trusted in the settings of the person', async () => {
  const home = new Home()
  await home.s2([...INSTALL, '--trust', '--yes'])
  const own = home.settings
  const { code, err } = await home.s2([...INSTALL, '--project', '--trust', '--yes'])
  assert.equal(code, 0, err)
  assert.equal(home.settings.match(/project\/\.codex\/hooks\.json:/g)?.length, 7)
  await home.s2(['uninstall', '--agent', 'codex', '--project'])
  assert.equal(home.settings, own)
})

/** A hook of the person's, and what codex would know it by. */
const hook = (command: string) => ({ hooks: [{ type: 'command', command }] })
const hashOf = (command: string): string => hash('sha256', JSON.stringify(hook(command).hooks[0]))

test('hooks that a person added behind those of S2 are trusted as before once these are gone', async () => {
  const home = new Home()
  const path = join(home.path, '.codex/hooks.json')
  writeFileSync(path, JSON.stringify({ hooks: { Stop: [hook('first')] } }))
  await home.s2([...INSTALL, '--trust', '--yes'])
  const installed = JSON.parse(readFileSync(path, 'utf8')) as { hooks: Record<string, unknown[]> }
  assert.equal(installed.hooks.Stop?.length, 2)
  installed.hooks.Stop?.push(hook('second'), hook('third'))
  writeFileSync(path, JSON.stringify(installed))
  const key = (place: string): string => `hooks.state.${JSON.stringify(`${path}:${place}`)}`
  const table = (place: string, command: string): string =>
    `\n# of ${command}\n[${key(place)}] # mine\nenabled = true\ntrusted_hash = "sha256:${hashOf(command)}"\n`
  const own = table('stop:0:0', 'first') + table('stop:2:0', 'second') + table('stop:3:0', 'third')
  writeFileSync(home.config, `${home.settings}${own}`)
  const dry = await home.s2(['uninstall', '--agent', 'codex', '--dry-run'])
  assert.match(dry.out, /^\+\[hooks\.state\..*:stop:1:0"\]/m)
  assert.doesNotMatch(dry.err, /other places/)
  const { code, err } = await home.s2(['uninstall', '--agent', 'codex'])
  assert.equal(code, 0, err)
  assert.match(err, /other hooks in .*hooks\.json stand at other places now.*went along\n {2}next: \/hooks in codex/)
  const moved = table('stop:0:0', 'first') + table('stop:1:0', 'second') + table('stop:2:0', 'third')
  assert.equal(home.settings, `${CONFIG}${moved}`)
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')), { hooks: { Stop: ['first', 'second', 'third'].map(hook) } })
})

test('a trust that a person gave to a hook of S2 is not taken for that of the next hook', async () => {
  const home = new Home()
  const path = join(home.path, '.codex/hooks.json')
  await home.s2(INSTALL)
  const installed = JSON.parse(readFileSync(path, 'utf8')) as { hooks: Record<string, unknown[]> }
  installed.hooks.Stop?.push(hook('mine'))
  writeFileSync(path, JSON.stringify(installed))
  const key = (place: string): string => JSON.stringify(`${path}:${place}`)
  const table = (place: string, word: string): string => `\n[hooks.state.${key(place)}]\ntrusted_hash = "${word}"\n`
  writeFileSync(home.config, `${CONFIG}${table('stop:0:0', 'of s2')}${table('stop:1:0', 'of mine')}`)
  await home.s2(['uninstall', '--agent', 'codex'])
  assert.equal(home.settings, `${CONFIG}${table('stop:0:0', 'of mine')}`)
})

test('hooks that are written anew stay in their place, and so do those behind them', async () => {
  const home = new Home()
  const path = join(home.path, '.codex/hooks.json')
  await home.s2(INSTALL)
  const commands = (): string[] => {
    const { hooks } = JSON.parse(readFileSync(path, 'utf8')) as { hooks: { Stop: { hooks: { command: string }[] }[] } }
    return hooks.Stop.map((group) => group.hooks[0]?.command ?? '')
  }
  const installed = JSON.parse(readFileSync(path, 'utf8')) as { hooks: Record<string, unknown[]> }
  installed.hooks.Stop?.push(hook('mine'))
  writeFileSync(path, JSON.stringify(installed, null, 2).replaceAll(join(home.path, 'state'), '/elsewhere'))
  const { err } = await home.s2(INSTALL)
  assert.equal(commands().length, 2)
  assert.match(commands()[0] ?? '', /hook Stop --agent codex --state .*\/state$/)
  assert.equal(commands()[1], 'mine')
  assert.doesNotMatch(err, /other places/)
  installed.hooks.PreCompact = [hook(commands()[0]?.replace('Stop', 'PreCompact') ?? ''), hook('mine too')]
  writeFileSync(path, JSON.stringify(installed))
  const key = (place: string): string => JSON.stringify(`${path}:${place}`)
  writeFileSync(home.config, `[hooks.state.${key('pre_compact:1:0')}]\ntrusted_hash = "of mine"\n`)
  const outdated = await home.s2(INSTALL)
  assert.match(outdated.err, /other places/, 'an event that S2 no longer hears')
  assert.equal(home.settings, `[hooks.state.${key('pre_compact:0:0')}]\ntrusted_hash = "of mine"\n`)
})

test('a hash that the person keeps with more is replaced alone', async () => {
  const home = new Home()
  const key = `${join(home.path, '.codex/hooks.json')}:stop:0:0`
  writeFileSync(home.config, `[hooks.state.'${key}']\nenabled = true # yes\ntrusted_hash = "sha256:00"\n`)
  await home.s2([...INSTALL, '--trust', '--yes'])
  assert.match(home.settings, /enabled = true # yes/)
  assert.doesNotMatch(home.settings, /sha256:00/)
  assert.equal(home.settings.match(/^\[hooks\.state\..*:stop:0:0/gm)?.length, 1)
})

test('settings that codex does not take are put back', async () => {
  const home = new Home()
  writeFileSync(join(home.path, 'deaf'), 'x')
  const { code, err } = await home.s2([...INSTALL, '--trust', '--yes'])
  assert.equal(code, 1)
  assert.match(err, /codex does not take what was written/)
  assert.equal(home.settings, CONFIG)
})

test('what codex lists and is no hook is passed over', async () => {
  const home = new Home()
  const odd = '{"id":2,"result":{"data":[null,{"hooks":[null,1,{"key":{}}]}]}}'
  writeFileSync(join(home.path, 'bin/codex'), `#!/bin/sh\necho null\necho '${odd}'\ncat >/dev/null\n`)
  await home.s2(INSTALL)
  const rows = JSON.parse((await home.s2(['status', '--agent', 'codex', '--json'])).out) as { state: string }[]
  assert.ok(rows.some(({ state }) => state === 'not read'))
})

test('where codex is not, or says nothing that is known, its hooks are installed and the person told', async () => {
  for (const program of [null, '#!/bin/sh\nread line; echo "not json"\n']) {
    const home = new Home()
    const path = join(home.path, 'bin/codex')
    if (program === null) rmSync(path)
    else writeFileSync(path, program)
    const { code, err } = await home.s2(INSTALL)
    assert.equal(code, 0)
    assert.match(err, /codex runs no hook that nobody trusts/)
    const status = await home.s2(['status', '--agent', 'codex', '--json'])
    const rows = JSON.parse(status.out) as { what: string; state: string; why?: string }[]
    const row = rows.find(({ what }) => what === 'trust')
    assert.equal(row?.state, 'unknown')
    assert.match(row?.why ?? '', /codex does not say which hooks it trusts/)
    assert.equal((await home.s2([...INSTALL, '--trust', '--yes'])).code, 1)
    assert.equal(home.settings, CONFIG)
  }
})
