import type { BuildOptions, Plugin } from 'esbuild'

/** The oldest that runs what is bundled; package.json names it too. */
const NODE_MAJOR = 24

/**
 * An older Node fails in the strangest ways, by a fault of memory among them, so the first file that it reads says what is
 * needed. CommonJS packages inside an ES module need the rest.
 */
const banner = `if (parseInt(process.versions.node) < ${NODE_MAJOR}) { process.stderr.write('s2: Node.js ${NODE_MAJOR} or later is needed, and this is ' + process.version + '\\n  next: . deploy/env.sh in the folder of the project, or call the installed s2\\n'); process.exit(78) }
import { createRequire as createRequireForBundle } from 'node:module'
const require = createRequireForBundle(import.meta.url), __filename = import.meta.filename, __dirname = import.meta.dirname
`

/**
 * Loads some of Node's own modules by member, on first use. An ES import reads every export of a module, which in `http`
 * loads a whole fetch and WebSocket client: 6 MB in every service. TLS costs 3 MB more, and most services do not use it.
 */
const lateBuiltins: Plugin = {
  name: 'late builtins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(node:)?(http|https|tls|zlib|child_process)$/ }, ({ path }) => ({
      path: path.replace('node:', ''),
      namespace: 'late',
    }))
    onLoad({ filter: /./, namespace: 'late' }, ({ path }) => {
      const names = Object.keys(process.getBuiltinModule(path) ?? {})
      // docker-modem makes a module that inherits from this one, and sets another `request` in it.
      const members = names.map((name) => {
        return `get ${name}() { return process.getBuiltinModule('${path}').${name} },
          set ${name}(value) { Object.defineProperty(this, '${name}', { value, writable: true }) },`
      })
      return { contents: `module.exports = {${members.join('\n')}}` }
    })
  },
}

/**
 * Replaces packages that are imported but never used: a call throws. `cron` only parses cron lines here, and its calendar
 * library would take 1 MB in the bridge. dockerode's packages for engines behind ssh and for BuildKit are 6 MB of text.
 */
const unreached: Plugin = {
  name: 'unreached',
  setup({ onResolve, onLoad }) {
    const filter = /^(luxon|@grpc\/grpc-js|@grpc\/proto-loader|protobufjs|ssh2)$/
    onResolve({ filter }, ({ path }) => ({ path, namespace: 'unreached' }))
    onLoad({ filter, namespace: 'unreached' }, ({ path }) => ({
      contents: `module.exports = new Proxy({}, { get: () => function () { throw new Error('${path} is not bundled') } })`,
    }))
  },
}

/** A part of the command line that is bundled into one file of its own. */
export const WHOLE = 'hook'

/** Leaves that part out of the chunks of the others where it is started in a hurry. */
const wholePart: Plugin = {
  name: 'whole part',
  setup({ onResolve }) {
    onResolve({ filter: new RegExp(`^\\./${WHOLE}\\.ts$`), namespace: 'file' }, ({ importer }) =>
      importer.endsWith('/lean-commands.ts') ? { path: `./${WHOLE}.js`, external: true } : undefined,
    )
  },
}

/** The esbuild options for programs, given by name and source. */
export function bundling(entryPoints: Readonly<Record<string, string>>) {
  return {
    entryPoints,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: `node${NODE_MAJOR}`,
    banner: { js: banner },
    // Native modules find their binaries beside their own package.json.
    external: ['better-sqlite3', 'node-inotify', 'unix-dgram'],
    plugins: [lateBuiltins, unreached, wholePart],
    // V8 keeps a program's text while it runs, in twice the bytes where one character is beyond Latin-1. Names stay, and lines
    // are short, for readers of a stack trace.
    minifyWhitespace: true,
    minifySyntax: true,
    lineLimit: 160,
    logLevel: 'warning',
  } as const satisfies BuildOptions
}
