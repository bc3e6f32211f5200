import PluginRuntime
import Plugins

Program.main(allPlugins)
