import PluginRuntime
import Plugins

Program.main(plugin(named:), names: pluginNames)
