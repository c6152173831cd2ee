/** The hooks that S2 writes into a repository: what was there before is run, and is there again afterwards. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { after, test } from 'node:test'
import { hookScript } from '../../services/cli/git-hooks/hook-script.ts'
import { type Outcome, run } from './run-command.ts'

const root = realpathSync(mkdtempSync(join(tmpdir(), 's2-git-hooks-')))
after(() => rmSync(root, { recursive: true, force: true }))

const ENV = { PATH: process.env.PATH, HOME: root, GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: join(root, 'gitconfig') }
writeFileSync(ENV.GIT_CONFIG_GLOBAL, '[user]\n  name = t\n  email = t@example.org\n[init]\n  defaultBranch = main\n')

/** A repository with a commit in it. */
class Repository {
  readonly folder: string

  constructor(name: string) {
    this.folder = join(root, name)
    mkdirSync(this.folder)
    this.git('init', '--quiet')
    this.git('commit', '--quiet', '--allow-empty', '-m', 'begin')
  }

  git(...words: string[]): string {
    return execFileSync('git', words, { cwd: this.folder, env: ENV, encoding: 'utf8', stdio: 'pipe' })
  }

  hooks(...words: string[]): Promise<Outcome> {
    return run(['hooks', ...words, '--repo', this.folder], { env: ENV, folder: this.folder })
  }

  write(path: string, text: string): string {
    const file = join(this.folder, path)
    mkdirSync(join(file, '..'), { recursive: true })
    writeFileSync(file, text)
    return file
  }

  hook(name: string, text: string): string {
    const file = this.write(`.git/hooks/${name}`, `#!/bin/sh\n${text}\n`)
    chmodSync(file, 0o755)
    return file
  }

  commit(): ReturnType<typeof spawnSync> {
    this.write('file', `${Math.random()}`)
    this.git('add', '.')
    return spawnSync('git', ['commit', '--quiet', '-m', 'a change'], { cwd: this.folder, env: ENV, encoding: 'utf8' })
  }
}

/** All that lies in a folder, with what is in it. */
function snapshot(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((each) => each.isFile())
  return Object.fromEntries(
    files.map((each) => {
      const path = join(each.parentPath, each.name)
      return [relative(folder, path), readFileSync(path, 'latin1')]
    }),
  )
}

test('hooks are written, twice is once, and uninstalling leaves no trace', async () => {
  const repository = new Repository('plain')
  rmSync(join(repository.folder, '.git/hooks'), { recursive: true })
  const before = snapshot(repository.folder)
  const first = await repository.hooks('install', '--git')
  assert.equal(first.code, 0, first.err)
  const written = snapshot(repository.folder)
  assert.equal((await repository.hooks('install', '--git')).code, 0)
  assert.deepEqual(snapshot(repository.folder), written)
  assert.equal(repository.commit().status, 0)
  assert.equal((await repository.hooks('uninstall', '--git')).code, 0)
  assert.ok(!existsSync(join(repository.folder, '.git/hooks')))
  repository.git('reset', '--quiet', '--hard', 'HEAD~1')
  for (const path of Object.keys(before))
    if (/hooks|config/.test(path)) assert.equal(before[path], snapshot(repository.folder)[path])
})

test('a hook that was there before runs first, decides, and is there again afterwards', async () => {
  const repository = new Repository('chained')
  const hook = repository.hook('pre-commit', 'echo ran >>ran; test ! -e broken')
  const text = readFileSync(hook, 'utf8')
  assert.equal((await repository.hooks('install', '--git')).code, 0)
  assert.equal(repository.commit().status, 0)
  assert.equal(readFileSync(join(repository.folder, 'ran'), 'utf8'), 'ran\n')
  repository.write('broken', '')
  assert.notEqual(repository.commit().status, 0)
  const gone = await repository.hooks('uninstall', '--git')
  assert.match(gone.out, /pre-commit is again the hook that was there before/)
  assert.equal(readFileSync(hook, 'utf8'), text)
  assert.ok(!existsSync(`${hook}.before-s2`))
})

test('a hook that is a link stays that link', async () => {
  const repository = new Repository('linked')
  const target = repository.write('tools/check.sh', '#!/bin/sh\nexit 0\n')
  symlinkSync(target, join(repository.folder, '.git/hooks/pre-commit'))
  await repository.hooks('install', '--git')
  await repository.hooks('uninstall', '--git')
  assert.equal(realpathSync(join(repository.folder, '.git/hooks/pre-commit')), target)
  assert.equal(readFileSync(target, 'utf8'), '#!/bin/sh\nexit 0\n')
})

test('a hook that another tool wrote over ours is left as it is', async () => {
  const repository = new Repository('overwritten')
  repository.hook('pre-commit', 'exit 0')
  await repository.hooks('install', '--git')
  const theirs = repository.hook('pre-commit', 'true')
  const again = await repository.hooks('install', '--git')
  assert.equal(again.code, 1)
  assert.match(again.err, /is another hook now/)
  const gone = await repository.hooks('uninstall', '--git')
  assert.match(gone.out, /is not of S2, and was left as it is/)
  assert.equal(readFileSync(theirs, 'utf8'), '#!/bin/sh\ntrue\n')
})

test('a folder of hooks that is named for this repository alone is used', async () => {
  const repository = new Repository('named')
  repository.git('config', 'core.hooksPath', join(root, 'named-hooks'))
  assert.equal((await repository.hooks('install', '--git')).code, 0)
  assert.ok(existsSync(join(root, 'named-hooks/pre-commit')))
  assert.deepEqual(
    readdirSync(join(repository.folder, '.git/hooks')).filter((name) => !name.endsWith('.sample')),
    [],
  )
})

test('hooks in the tree, of husky, or of all repositories are told and not touched', async () => {
  const repository = new Repository('husky')
  repository.git('config', 'core.hooksPath', '.husky/_')
  const husky = await repository.hooks('install', '--git')
  assert.equal(husky.code, 1)
  assert.match(husky.err, /made by husky.*\n.*\.husky\/pre-commit: .* hooks run pre-commit/)
  repository.git('config', 'core.hooksPath', '.githooks')
  assert.match((await repository.hooks('install', '--git')).err, /a part of the checkout/)
  repository.git('config', '--unset', 'core.hooksPath')
  const config = readFileSync(ENV.GIT_CONFIG_GLOBAL, 'utf8')
  writeFileSync(ENV.GIT_CONFIG_GLOBAL, `${config}[core]\n  hooksPath = ${join(root, 'global')}\n`)
  try {
    assert.match((await repository.hooks('install', '--git')).err, /of the global settings/)
  } finally {
    writeFileSync(ENV.GIT_CONFIG_GLOBAL, config)
  }
  assert.ok(!existsSync(join(root, 'global')))
})

test('one installation serves all worktrees', async () => {
  const repository = new Repository('trees')
  repository.git('worktree', 'add', '--quiet', join(root, 'tree-of'))
  const installed = await run(['hooks', 'install', '--git'], { env: ENV, folder: join(root, 'tree-of') })
  assert.equal(installed.code, 0, installed.err)
  assert.ok(existsSync(join(repository.folder, '.git/hooks/pre-commit')))
})

test('what is no checkout, and no kind, is refused with what to do', async () => {
  const nowhere = await run(['hooks', 'install', '--git', '--repo', root], { env: ENV })
  assert.match(nowhere.err, /is no checkout of a git repository/)
  const kindless = await run(['hooks', 'install'], { env: ENV })
  assert.equal(kindless.code, 64)
  assert.match(kindless.err, /--git for a git repository/)
})

test('a program that is gone or breaks keeps nobody from committing', () => {
  for (const program of [
    ['/nowhere/node', '/nowhere/s2.js'],
    [process.execPath, '/nowhere/s2.js'],
    ['/bin/sh', '/etc/passwd'],
  ] as const) {
    const script = hookScript('pre-commit', { program: [...program], state: undefined })
    const ended = spawnSync('/bin/sh', ['-c', script], { env: ENV, encoding: 'utf8' })
    assert.equal(ended.status, 0)
  }
  const refusing = hookScript('pre-commit', { program: ['/bin/sh', join(root, 'refuse')], state: undefined })
  writeFileSync(join(root, 'refuse'), 'exit 77\n')
  assert.equal(spawnSync('/bin/sh', ['-c', refusing], { env: ENV }).status, 1)
})
