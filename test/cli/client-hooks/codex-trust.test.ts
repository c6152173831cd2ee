import assert from 'node:assert/strict'
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
